package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/chat"
	"godwit/internal/config"
	"godwit/internal/password"
	"godwit/internal/ttclient"
	imbase "godwit/schema/client/basedefine"
)

type device string

var devices = map[device]imbase.ClientType{
	"windows": imbase.ClientType_CLIENT_TYPE_WINDOWS,
	"mac":     imbase.ClientType_CLIENT_TYPE_MAC,
	"ios":     imbase.ClientType_CLIENT_TYPE_IOS,
	"android": imbase.ClientType_CLIENT_TYPE_ANDROID,
	"web":     imbase.ClientType_CLIENT_TYPE_WEB,
}

func deviceFlag(cmd *cobra.Command, d *device) {
	cmd.Flags().Var(config.OneOf(d, "windows", "windows", "mac", "ios", "android", "web"), "device", "kind of device to appear as")
}

func newChat(streams IO) *cobra.Command {
	var (
		server    string
		as        device
		secret    secretFlags
		secure    bool
		authority string
	)
	cmd := &cobra.Command{
		Use: "chat NAME", Short: "Talk to people, on a terminal or from a script",
		Long: `Logs in as NAME over the protocol of the TeamTalk clients and talks.

On a terminal, what you type goes to the open conversation; /to NAME opens one and
/help lists the rest. A lost connection is made again, and what came meanwhile is
shown. Exit codes: 3 when the server sent this device away because you logged in on
another one of its kind, 4 for a wrong name or password.

When standard input is not a terminal, commands are read from it, one a line; each is
finished before the next is read:

` + indent(chat.Commands) + `

and plain lines are printed, whose first word says what they are:

` + indent(chat.Lines),
		Example: `  godwit chat alice
  printf 'to bob hello\nhistory bob 5\n' | GODWIT_PASSWORD=... godwit chat alice --device android`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			options := ttclient.Options{Addr: server, Name: args[0], Device: devices[as], Version: "godwit-chat"}
			if secure && strings.HasPrefix(server, "ws://") {
				return usagef("--tls is for HOST:PORT, and --server is %q: give a URL with wss://", server)
			}
			if options.TLS, err = clientTLS(secure || strings.HasPrefix(server, "wss://"), authority); err != nil {
				return err
			}
			plain, err := secret.get(streams)
			if err != nil {
				return err
			}
			keyboard, interactive := terminal(streams.In)
			if plain == "" {
				if !interactive {
					return usagef("no password: give GODWIT_PASSWORD or --password-file")
				}
				if plain, err = prompt(streams, keyboard, "Password of "+args[0]+": "); err != nil {
					return err
				}
			}
			options.Password = password.MD5Hex(plain)
			c := chat.Config{Connect: options, In: streams.In, Out: streams.Out}
			if interactive {
				if c.Terminal, err = chat.NewTerminal(keyboard, streams.Out); err != nil {
					return err
				}
				defer func() {
					err = errors.Join(err, c.Terminal.Restore())
					fmt.Fprintln(streams.Out) // leave the line of the prompt
				}()
			}
			err = chat.Run(cmd.Context(), c)
			if _, kicked := errors.AsType[*ttclient.KickedError](err); kicked || errors.Is(err, chat.ErrCommandFailed) {
				return errors.Join(errSaid, err)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(config.Entrance(&server, "127.0.0.1:8000", 8000), "server", "server to connect to; a URL such as wss://chat.example.org/ws connects by WebSocket")
	deviceFlag(cmd, &as)
	secret.flags(cmd)
	f.BoolVar(&secure, "tls", false, "connect by TLS")
	f.StringVar(&authority, "tls-ca", "", "certificates `FILE` (PEM) to trust instead of the system's")
	return cmd
}

func clientTLS(secure bool, authority string) (*tls.Config, error) {
	if !secure {
		if authority != "" {
			return nil, usagef("--tls-ca goes with --tls: give both, or neither")
		}
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef("--tls-ca is %q: it holds no PEM certificate", authority)
		}
	}
	return c, nil
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }
