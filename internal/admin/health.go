package admin

import (
	"context"
	"net/http"
)

// Health is what a process says about itself without being asked for a token.
type Health interface {
	// Ready is nil, or why the process can't do its work now.
	Ready(ctx context.Context) error
}

// NewHealth is the admin port of a process that has nothing to administer: /healthz,
// /readyz and, unless it is nil, /metrics.
func NewHealth(h Health, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	handleHealth(mux, h, metrics)
	return mux
}

func handleHealth(mux *http.ServeMux, h Health, metrics http.Handler) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := h.Ready(r.Context()); err != nil {
			writeText(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		writeText(w, http.StatusOK, "ready")
	})
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
}
