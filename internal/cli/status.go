package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/admin"
)

func newStatus(streams IO) *cobra.Command {
	var (
		t      target
		asJSON bool
	)
	cmd := &cobra.Command{
		Use: "status", Short: "Show what a running server says about itself",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			st, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(streams.Out)
				enc.SetIndent("", "  ")
				return enc.Encode(st)
			}
			return writeStatus(streams.Out, st)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	t.flags(cmd)
	return cmd
}

// storeText is how full a store is.
func storeText(s admin.StoreStatus) string {
	if s.Left == nil {
		return "how full is not known now"
	}
	return fmt.Sprintf("%d of %d MiB free", *s.Left>>20, s.Room>>20)
}

func writeStatus(out io.Writer, st admin.Status) error {
	ready := "ready"
	if !st.Ready {
		ready = "not ready: " + st.NotReady
	}
	fmt.Fprintf(out, "godwit %s, process %d, up %s, %s\n", strings.TrimSpace(st.Version+" "+st.Role), st.PID, time.Since(st.Started).Round(time.Second), ready)
	listen := cmp.Or(st.Listen, "at the connectors")
	if st.Role != "" && st.Advertise != "" {
		listen = "are sent to " + st.Advertise
	}
	fmt.Fprintf(out, "clients %s, http %s, durability %s, log %s\n", listen, st.HTTP, st.Durability, st.Log)
	clients := 0
	for _, n := range st.Nodes {
		clients += n.Clients
	}
	if len(st.Nodes) == 0 {
		clients = st.Sessions
	}
	fmt.Fprintf(out, "%d clients connected, %d people online\n", clients, st.DesktopOnline)
	if f := st.Files; f != nil {
		fmt.Fprintf(out, "files %s, clients are told %s, %s\n", f.Listen, f.Advertise, storeText(f.StoreStatus))
	} else {
		fmt.Fprintln(out, "files off")
	}
	at := st.Pictures.URL
	if at == "" {
		at = "on the http port"
	}
	fmt.Fprintf(out, "pictures %s, upload %s, %s\n", at, st.Pictures.Upload, storeText(st.Pictures.StoreStatus))
	sent := ", sent by another process, or by none for the moment"
	for _, l := range st.Leases {
		if l.Name == "webhook" && l.Process != "" && !st.Pushes.Sending {
			sent = ", sent by " + cmp.Or(namesOf(st)[l.Process], l.Process)
		}
	}
	if st.Pushes.Sending {
		sent = ", sent from here"
	}
	fmt.Fprintf(out, "pushes to %d targets%s\n", len(st.Pushes.Targets), sent)
	for _, t := range st.Pushes.Targets {
		state := "not known here"
		switch {
		case t.Disabled:
			state = "disabled"
		case t.BacklogSeconds != nil && *t.BacklogSeconds > 0:
			state = "behind by " + time.Duration(*t.BacklogSeconds*float64(time.Second)).Round(time.Second).String()
		case t.BacklogSeconds != nil:
			state = "has caught up"
		}
		fmt.Fprintf(out, "  target %s %s\n", t.ID, state)
	}
	names := namesOf(st)
	if err := writeNodes(out, st.Nodes, names); err != nil {
		return err
	}
	if err := writeStreams(out, st.Streams, names); err != nil {
		return err
	}
	if len(st.Leases) > 0 {
		var held []string
		for _, l := range st.Leases {
			held = append(held, l.Name+" "+cmp.Or(names[l.Process], l.Process, "nobody"))
		}
		fmt.Fprintf(out, "leases: %s\n", strings.Join(held, ", "))
	}
	for _, u := range st.Unknown {
		fmt.Fprintf(out, "not known now: %s\n", u)
	}
	return nil
}

// namesOf are short names of processes: the host's, and the end of the process's own where
// several of a role are on one host.
func namesOf(st admin.Status) map[string]string {
	hosts := map[string]int{}
	for _, n := range st.Nodes {
		hosts[n.Role+" "+n.Node]++
	}
	names := map[string]string{}
	for _, n := range st.Nodes {
		name := n.Node
		if hosts[n.Role+" "+n.Node] > 1 || name == "" {
			name += "/" + n.Process[max(0, len(n.Process)-4):]
		}
		names[n.Process] = name
	}
	return names
}

func writeNodes(out io.Writer, nodes []admin.NodeStatus, names map[string]string) error {
	if len(nodes) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tROLE\tADDRESS\tCLIENTS\tSTATE\tCLOCK")
	for _, n := range nodes {
		clients, state, clock := "-", n.State, fmt.Sprintf("%+.1fs", n.Clock)
		switch n.Role {
		case "connector":
			clients = fmt.Sprintf("%d of %d", n.Clients, n.Capacity)
		case "projector":
			state, clock = fmt.Sprintf("owns %d of %d views", n.Owns, n.Views), "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", names[n.Process], n.Role, cmp.Or(n.Advertise, "-"), clients, cmp.Or(state, "-"), clock)
	}
	return w.Flush()
}

func writeStreams(out io.Writer, streams []admin.StreamStatus, names map[string]string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STREAM\tRECORDS\tLEADER\tCURRENT\tVIEW\tOWNER (BEHIND)\tSTANDBYS (BEHIND)")
	copyOf := func(v admin.ViewCopy, last uint64) string {
		text := fmt.Sprintf("%s (%d)", cmp.Or(names[v.Process], v.Node, v.Process), last-min(v.Folded, last))
		if !v.Warm {
			text += " cold"
		}
		return text
	}
	for _, s := range streams {
		owner, standbys := "nobody", []string{}
		if s.Owner != nil {
			owner = copyOf(*s.Owner, s.Last)
		} else if s.Folded > 0 { // an own view, and nobody has been heard yet
			owner = fmt.Sprintf("here (%d)", s.Last-min(s.Folded, s.Last))
		}
		for _, v := range s.Standbys {
			standbys = append(standbys, copyOf(v, s.Last))
		}
		current := fmt.Sprintf("%d of %d", s.Current, s.Replicas)
		if s.Replicas == 0 {
			current = "not known"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.Last, cmp.Or(s.Leader, "-"), current, s.View, owner, cmp.Or(strings.Join(standbys, ", "), "-"))
	}
	return w.Flush()
}
