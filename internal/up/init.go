package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"godwit/bus"
	"godwit/connector/files"
	"godwit/connector/pictures"
)

// Init makes what the roles of a cluster need at the NATS servers, or checks what is there.
func Init(ctx context.Context, cfg Config) (err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Out == nil {
		cfg.Out = io.Discard
	}
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	b, err := bus.Open(ctx, cfg.log(bus.RoleInit, nil, cfg.Logger))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if _, err := files.OpenStore(ctx, files.StoreConfig{Bus: b, Room: int64(cfg.FileStore), Keep: cfg.FileKeep}); err != nil {
		return err
	}
	if _, err := pictures.New(ctx, pictures.Config{Bus: b, Room: int64(cfg.PictureStore), Keep: cfg.PictureKeep}); err != nil {
		return err
	}
	if _, err := b.Objects(ctx, snapshotStore(cfg)); err != nil {
		return err
	}
	fmt.Fprintf(cfg.Out, "log %s, %d partitions\n", b.LogID(), b.Partitions())
	return nil
}
