package up

import (
	"context"

	"godwit/internal/observe"
)

// startObserving measures what is no single process's own: how the log stands at its servers,
// and how full the stores are.
func (p *process) startObserving(context.Context) error {
	log := p.log.With("part", "observe")
	streams, err := observe.NewLog(p.registry, p.bus, log)
	if err != nil {
		return err
	}
	full := []observe.Store{{Name: "pictures", Room: p.pictures.Room}}
	if p.files != nil && p.files.store != nil {
		full = append(full, observe.Store{Name: "files", Room: p.files.store.Room})
	}
	stores, err := observe.NewStores(p.registry, log, full...)
	if err != nil {
		return err
	}
	p.stages.start("streams observed", streams.Run)
	p.stages.start("stores observed", stores.Run)
	return nil
}
