package up

import (
	"log/slog"

	"godwit/bus"
)

// Servers is the external log of the configuration, for whoever makes, moves, backs up or
// restores one.
func (c Config) Servers(logger *slog.Logger) bus.Config {
	return c.log(bus.RoleInit, nil, logger)
}
