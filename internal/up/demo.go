package up

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"godwit/internal/admin"
)

// demoPeople are birds of passage.
var demoPeople = []string{"anna", "bela", "chen", "dora", "emil", "fatma", "goran", "hana", "ivo", "june"}

// demoMark is a file in a data directory that a demo made.
const demoMark = "demo"

// populate makes the people of a demo.
func (p *process) populate(ctx context.Context) error {
	if !p.cfg.Demo {
		return nil
	}
	return demo(ctx, p.dir.Path(), p.people, p.cfg.Out)
}

// demo makes ten people who know each other and prints their names and the one
// password of them all. People of an earlier demo get the new password; a directory
// with people of its own is refused, whose passwords are nobody's to reset.
func demo(ctx context.Context, dir string, people admin.People, out io.Writer) error {
	mark := filepath.Join(dir, demoMark)
	if _, err := os.Stat(mark); errors.Is(err, fs.ErrNotExist) {
		page, err := people.List(ctx, 0, 1)
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		if len(page.People) > 0 {
			return fmt.Errorf("--demo: %s holds people of its own: give a new directory with --data", dir)
		}
		if err := os.WriteFile(mark, []byte("made by --demo\n"), 0o600); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	password := strings.ToLower(rand.Text()[:10])
	for _, name := range demoPeople {
		_, err := people.Add(ctx, admin.NewPerson{Name: name, Password: password, Nick: strings.ToUpper(name[:1]) + name[1:]})
		if errors.Is(err, admin.ErrNameTaken) {
			err = people.SetPassword(ctx, name, password)
		}
		if err != nil {
			return fmt.Errorf("demo: %s: %w", name, err)
		}
	}
	for i, a := range demoPeople {
		for _, b := range demoPeople[i+1:] {
			if err := people.SetFriends(ctx, a, b, true); err != nil {
				return fmt.Errorf("demo: friends %s and %s: %w", a, b, err)
			}
		}
	}
	fmt.Fprintf(out, "demo people: %s\ndemo password of all: %s\n", strings.Join(demoPeople, " "), password)
	return nil
}
