package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"godwit/bus"
	"godwit/connector/files"
	"godwit/connector/pictures"
)

// Init makes what the roles of a cluster need at the NATS servers, or checks what is there,
// and says what it found. The error names what does not fit.
func Init(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	parts, tasks := files.StoreConfig{Room: int64(cfg.FileStore), Keep: cfg.FileKeep}.Stores()
	report, err := bus.Prepare(ctx, cfg.Servers(cfg.Logger), bus.Stores{
		Objects: []bus.StoreConfig{parts, pictures.StoreConfig(int64(cfg.PictureStore), cfg.PictureKeep), snapshotStore(cfg)},
		Tables:  []bus.StoreConfig{tasks},
	})
	if cfg.Out == nil || len(report.Streams) == 0 {
		return err
	}
	return errors.Join(err, writePrepared(cfg.Out, report))
}

func writePrepared(out io.Writer, r bus.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STREAM\tREPLICAS\tSTATE")
	for _, s := range r.Streams {
		fmt.Fprintf(w, "%s\t%d\t%s\n", s.Name, s.Replicas, s.State)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "log %s, %d partitions, durability %s\n", r.LogID, r.Partitions, strings.TrimSpace(r.Durability))
	return err
}
