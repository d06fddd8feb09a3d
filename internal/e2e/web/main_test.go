package web

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	_ "godwit/internal/cli"
	"godwit/internal/e2e/e2etest"
)

var (
	flagFigures  = flag.Bool("figures", false, "measure page weight, time to the first conversation and memory")
	flagPatience = flag.Duration("patience", e2etest.Patience, "limit of every wait")
	flagPictures = flag.String("pictures", "", "directory for the pictures of the README")
)

// workDir is where this run's program and its data lie, artefacts where its pictures go.
var workDir, artefacts string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	var err error
	if workDir, err = os.MkdirTemp("", "godwit-web-"); err == nil {
		defer os.RemoveAll(workDir)
		if artefacts, err = filepath.Abs(filepath.Join("..", "..", "..", "build", "web-test")); err == nil {
			if dir := os.Getenv("GODWIT_ARTEFACTS"); dir != "" {
				artefacts = filepath.Join(dir, "web")
			}
			err = os.MkdirAll(artefacts, 0o755)
			old, _ := filepath.Glob(filepath.Join(artefacts, "failed-*.png"))
			for _, f := range old {
				_ = os.Remove(f) // of an earlier run
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		shared.end()
		if browser.end != nil {
			browser.end()
		}
	}()
	return m.Run()
}

// build makes the program, once for all tests.
var build = sync.OnceValues(func() (string, error) {
	program := filepath.Join(workDir, "godwit")
	return program, e2etest.Build(program)
})

// browser is the one Chromium of all tests. Each page has a profile of its own in it.
var browser struct {
	once sync.Once
	ctx  context.Context
	err  error
	end  func()
}

// chromium starts the browser, or skips the test where there is none.
func chromium(t *testing.T) context.Context {
	t.Helper()
	browser.once.Do(func() {
		var path string
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
			if path, browser.err = exec.LookPath(name); browser.err == nil {
				break
			}
		}
		if browser.err != nil {
			return
		}
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.DisableGPU,
			chromedp.UserDataDir(filepath.Join(workDir, "chromium")), chromedp.WSURLReadTimeout(*flagPatience), chromedp.Flag("lang", "en-GB"),
			chromedp.Flag("enable-precise-memory-info", true), chromedp.Flag("hide-scrollbars", false),
			chromedp.Flag("blink-settings", "primaryPointerType=4,availablePointerTypes=4,primaryHoverType=2,availableHoverTypes=2")) // there is a mouse
		if os.Geteuid() == 0 {
			options = append(options, chromedp.NoSandbox) // which root cannot have
		}
		allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, cancel := chromedp.NewContext(allocator)
		browser.end = func() {
			cancel()
			end()
		}
		browser.ctx, browser.err = ctx, chromedp.Do(ctx)
	})
	if browser.err != nil {
		if os.Getenv("CI") == "" && browser.ctx == nil {
			t.Skip("needs chromium, as Debian packages it")
		}
		t.Fatal("no browser (Debian's package chromium has one): ", browser.err)
	}
	return browser.ctx
}
