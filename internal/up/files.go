package up

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/bus"
	"godwit/connector"
	"godwit/connector/files"
	"godwit/connector/pictures"
	"godwit/internal/api"
)

// fileRole is the store of files, and the file server where this process has it; nil where
// there are no files.
type fileRole struct {
	ln     net.Listener // nil: another process serves
	store  *files.Store
	server *files.Server
	at     connector.FileAddress
}

// listenFiles takes the address of the file server, if there is to be one.
func (p *process) listenFiles(context.Context) (err error) {
	if p.cfg.FileListen != "" {
		p.fileListener, err = p.listen("file-listen", p.cfg.FileListen)
	}
	return err
}

// openFiles opens the store, and makes the server where one listens. Without an address
// that clients can be told there is neither.
func (p *process) openFiles(ctx context.Context) (err error) {
	if p.fileListener == nil && p.cfg.FileAdvertise == "" {
		return nil
	}
	ctx, cancel := p.opening(ctx)
	defer cancel()
	may := func(ctx context.Context, user uint32) (bool, error) { return p.gate.MayLogIn(ctx, user) } // it is made later
	p.files, err = openFiles(ctx, p.cfg, p.bus, p.fileListener, may, p.registry)
	return err
}

func (p *process) startFiles(context.Context) error {
	p.files.start(p.stages)
	return nil
}

// openFiles opens the store and, with a listener, makes the server. It serves when its
// stages are started.
func openFiles(ctx context.Context, cfg Config, b *bus.Bus, ln net.Listener, may func(context.Context, uint32) (bool, error), registry prometheus.Registerer) (*fileRole, error) {
	log := cfg.Logger.With("part", "files")
	store, err := files.OpenStore(ctx, files.StoreConfig{Bus: b, Room: int64(cfg.FileStore), MaxSize: uint32(cfg.FileMaxSize), Keep: cfg.FileKeep, Logger: log})
	if err != nil {
		return nil, err
	}
	f := &fileRole{ln: ln, store: store}
	if ln == nil {
		f.at, err = fileAddress(cfg, nil)
		return f, err
	}
	f.server, err = files.New(files.Config{Store: store, MayLogIn: may, Logger: log, Registerer: registry})
	if err != nil {
		return nil, err
	}
	f.at, err = fileAddress(cfg, ln.Addr())
	return f, err
}

// offered gives the connector what it needs to make and to name transfers.
func (f *fileRole) offered(c connector.Config) connector.Config {
	if f != nil {
		c.Files, c.FileAt = f.store, f.at
	}
	return c
}

// start serves until the stages stop.
func (f *fileRole) start(run *stages) {
	if f == nil {
		return
	}
	run.start("file store", f.store.Run)
	if f.server == nil {
		return
	}
	run.start("files", func(ctx context.Context) error { return f.server.Serve(ctx, f.ln) })
}

// fileAddress is what clients are told: what is configured; else the host that they are
// told for messages; else the one that is listened on, or, where that is every one, the
// first of this machine that others can reach. Where another process listens, listening is
// nil and the address is configured.
func fileAddress(cfg Config, listening net.Addr) (connector.FileAddress, error) {
	var own netip.AddrPort
	if listening != nil {
		var err error
		if own, err = netip.ParseAddrPort(listening.String()); err != nil {
			return connector.FileAddress{}, fmt.Errorf("file server: %w", err)
		}
	}
	at := connector.FileAddress{Port: own.Port()}
	split := func(s string) (host string, port uint16) {
		h, p, err := net.SplitHostPort(s)
		if err != nil {
			return strings.Trim(s, "[]"), 0
		}
		n, _ := strconv.ParseUint(p, 10, 16) // its form was checked
		return h, uint16(n)
	}
	if cfg.FileAdvertise != "" {
		host, port := split(cfg.FileAdvertise)
		if at.Host = host; port != 0 {
			at.Port = port
		}
	}
	if at.Host == "" {
		at.Host, _ = split(cfg.Advertise)
	}
	if at.Host == "" {
		at.Host = own.Addr().Unmap().String()
		if own.Addr().IsUnspecified() {
			at.Host = reachable()
		}
	}
	return at, nil
}

// reachable is an address of this machine, IPv4 rather than IPv6.
func reachable() string {
	found := "127.0.0.1"
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return found
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().IsGlobalUnicast() {
			continue
		}
		if p.Addr().Unmap().Is4() {
			return p.Addr().Unmap().String()
		}
		if found == "127.0.0.1" {
			found = p.Addr().String()
		}
	}
	return found
}

// openPictures opens the picture store. Uploads are for who is logged in, holds a token of
// a login, or a key of the API.
func (p *process) openPictures(ctx context.Context) (err error) {
	ctx, cancel := p.opening(ctx)
	defer cancel()
	has := connector.NewAddresses(p.bus, p.log.With("part", "pictures")).Has
	if p.srv != nil {
		has = p.srv.HasAddress
	}
	cfg := p.cfg
	p.pictures, err = pictures.New(ctx, pictures.Config{
		Bus: p.bus, Room: int64(cfg.PictureStore), Keep: cfg.PictureKeep, Upload: pictures.Upload(cfg.PictureUpload), URL: cfg.PictureURL,
		HasAddress: has, Logger: p.log.With("part", "pictures"), Registerer: p.registry,
		Allow: []func(*http.Request) bool{func(r *http.Request) bool {
			secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			if !ok {
				return false
			}
			// What has the form of a token is none of the API's keys, and must not count as a
			// wrong one.
			if token, err := decodeToken(secret); err == nil {
				return p.gate.HoldsToken(r.Context(), token)
			}
			return p.serverAPI.Authorize(r, api.FilesScope) == nil
		}},
	})
	return err
}

// decodeToken reads a resume token as text: base64 of either alphabet.
func decodeToken(text string) ([]byte, error) {
	text = strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(text), "=")
	token, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil && len(token) != connector.TokenSize {
		err = errors.New("not the size of a token")
	}
	return token, err
}
