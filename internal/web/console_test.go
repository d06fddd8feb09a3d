package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
)

// TestConsoleParts runs the tests of the console's parts, which are in consoletest, in a browser and against a server that
// a test makes up: what its charts show, that a change is sent again as the same change, and what is said when the server
// goes and comes back.
func TestConsoleParts(t *testing.T) {
	ctx := chromium(t)
	mux := http.NewServeMux()
	mux.Handle("/console/", Console())
	mux.Handle("/consoletest/", http.StripPrefix("/consoletest/", http.FileServer(http.Dir("consoletest"))))
	mux.Handle("/coretest/", http.StripPrefix("/coretest/", http.FileServer(http.Dir("coretest"))))
	mux.HandleFunc("GET /console/test", func(w http.ResponseWriter, _ *http.Request) {
		harden(w).Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><link rel="icon" href="data:,"><link rel="stylesheet" href="shared/style.css"><link rel="stylesheet" href="app/console.css">`+
			`<title>console</title><body><script type="module" src="/consoletest/run.js"></script>`)
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()

	inBrowser(t, ctx, srv.URL+"/console/test?only="+os.Getenv("GODWIT_CONSOLETEST"))
}
