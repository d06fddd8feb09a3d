package web

import (
	"fmt"
	"net/http"
	"os"
	"testing"
)

// TestConsoleParts runs the tests of the console's parts, which are in consoletest, in a browser and against a server that
// a test makes up: what its charts show, that a change is sent again as the same change, and what is said when the server
// goes and comes back.
func TestConsoleParts(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/console/", Console())
	mux.Handle("/consoletest/", http.StripPrefix("/consoletest/", http.FileServer(http.Dir("consoletest"))))
	mux.HandleFunc("GET /console/test", func(w http.ResponseWriter, _ *http.Request) {
		harden(w).Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><link rel="icon" href="data:,"><link rel="stylesheet" href="shared/style.css"><link rel="stylesheet" href="app/console.css">`+
			`<title>console</title><body><script type="module" src="/consoletest/run.js"></script>`)
	})
	inBrowser(t, mux, "/console/test?only="+os.Getenv("GODWIT_CONSOLETEST"))
}
