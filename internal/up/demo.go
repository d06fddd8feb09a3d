package up

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"godwit/internal/admin"
)

// demoPeople are birds of passage.
var demoPeople = []string{"anna", "bela", "chen", "dora", "emil", "fatma", "goran", "hana", "ivo", "june"}

// demo makes ten people who know each other and prints their names and the one
// password of them all. People of an earlier demo get the new password.
func demo(ctx context.Context, people admin.People, out io.Writer) error {
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
