package web

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/ttclient"
)

// smallTown is a server as it looks after some weeks, and who uses it.
func smallTown(t *testing.T, p *past) (person, *server) {
	t.Helper()
	anna := p.person("Anna Lind")
	var others []person
	for _, nick := range []string{"Bela Kovacs", "Chen Wei", "Dora Maar", "Emre Aydın", "Fatou Diop", "Grace O'Neill", "Haruki Sato", "Ines Duarte", "Jonas Berg", "Katya Orlova"} {
		others = append(others, p.person(nick))
	}
	now := time.Now().Truncate(time.Minute)
	say := func(other person, ago time.Duration, texts ...string) {
		t := talk{a: anna, b: other}
		for i, text := range texts {
			from := other
			if mine, ok := strings.CutPrefix(text, "> "); ok {
				from, text = anna, mine
			}
			t.lines = append(t.lines, line{from, text, now.Add(-ago + time.Duration(i)*2*time.Minute)})
		}
		p.talks = append(p.talks, t)
	}
	day := 24 * time.Hour
	say(others[0], 26*time.Hour, "Did the parcel for the workshop come?", "> Yes, it is at the front desk.", "Perfect, I'll fetch it after lunch.", "> Take the trolley, it is heavy!",
		"Two people, then. Are you free at two?", "> I am. See you at the desk.", "Thank you!")
	say(others[1], 5*time.Hour, "> The figures for October are in the folder.", "Great, thanks. I'll look at them tonight.")
	say(others[2], 2*day, "Can we move the review to Thursday?", "> Fine with me.")
	say(others[3], 4*day, "> Happy birthday!", "Thank you, Anna! Cake is in the kitchen.")
	say(others[4], 9*day, "The train was late, I am on my way.")
	say(others[5], 15*day, "> Could you send me the floor plan?", "Sure, tomorrow.")
	s := p.server(t)
	c := s.windows(t, others[1], ttclient.Options{})
	d := s.windows(t, others[2], ttclient.Options{})
	group, err := c.CreateGroup(t.Context(), "Summer party", anna.id, others[1].id, others[2].id, others[3].id)
	if err != nil {
		t.Fatal(err)
	}
	all := ttclient.Conversation{ID: group, Group: true}
	says(t, c, all, "Who brings the grill?")
	says(t, d, all, "I can. Who has charcoal?")
	says(t, d, ttclient.Conversation{ID: anna.id}, "One more thing: is the small room free on Thursday?")
	return anna, s
}

// TestPictures draws those of the README, from a server with some life.
func TestPictures(t *testing.T) {
	if *flagPictures == "" {
		t.Skip("draws only with -args -pictures DIR -patience 200s")
	}
	var p past
	anna, s := smallTown(t, &p)
	save := func(name string, c *tab) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(*flagPictures, name+".png"), c.shoot(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bela := p.people[1]
	b := s.signedIn(t, bela, desktop).with(anna)
	a := s.signedIn(t, anna, view{width: 1000, height: 640})
	a.click(item(bela.key()))
	a.write("The trolley is booked for two.")
	b.hears("The trolley is booked for two.")
	b.write("You are a hero")
	a.hears("You are a hero")
	a.marked("The trolley is booked for two.", "read")
	save("client", a.tab)

	phone := s.web(t, anna, view{width: 360, height: 640, phone: true, dark: true})
	phone.signIn(anna.name)
	phone.ready()
	phone.hover(css(".me")) // away from the list
	save("phone", phone.tab)

	c := s.console(t, view{width: 1200, height: 760})
	c.signIn(s.Token(t))
	c.see(by("navigation", "Console"))
	w := s.windows(t, p.people[3], ttclient.Options{})
	opened := time.Now()
	c.until("charts with some life", func() (bool, string) {
		for range 1 + int(time.Since(opened).Seconds())/7%5 { // now more, now less
			says(t, w, ttclient.Conversation{ID: anna.id}, "and another")
		}
		return time.Since(opened) > 150*time.Second, "not yet"
	})
	save("console", c.tab)
}
