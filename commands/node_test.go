package commands

import (
	"testing"

	"godwit/schema/event"
)

func TestStartNode(t *testing.T) {
	c := StartNode{At: noon, Life: id(9), Node: "n1", Advertise: "im.example.org:8000"}
	play(t, []scenario[LifeState]{
		{name: "a life begins", when: c, then: &event.NodeStarted{Life: id(9).Bytes(), Node: "n1", Advertise: "im.example.org:8000"}},
		{name: "twice", given: LifeState{Begun: true, Live: true}, when: c, refuse: ErrLifeBegun},
		{name: "after its end", given: LifeState{Begun: true}, when: c, refuse: ErrLifeBegun},
		{name: "no life", when: StartNode{At: noon, Node: "n1"}, refuse: ErrIncomplete},
		{name: "no time", when: StartNode{Life: id(9)}, refuse: ErrIncomplete},
	})
}

func TestStopNode(t *testing.T) {
	c := StopNode{At: noon, Life: id(9)}
	play(t, []scenario[LifeState]{
		{name: "a life ends", given: LifeState{Begun: true, Live: true}, when: c, then: &event.NodeStopped{Life: id(9).Bytes()}},
		{name: "twice", given: LifeState{Begun: true}, when: c, refuse: ErrLifeOver},
		{name: "before it began", when: c, refuse: ErrLifeOver},
		{name: "no life", given: LifeState{Begun: true, Live: true}, when: StopNode{At: noon}, refuse: ErrIncomplete},
		{name: "no time", given: LifeState{Begun: true, Live: true}, when: StopNode{Life: id(9)}, refuse: ErrIncomplete},
	})
}

func TestLoseNode(t *testing.T) {
	live := LifeState{Begun: true, Live: true}
	lost := &event.NodeLost{Life: id(9).Bytes(), By: id(8).Bytes()}
	play(t, []scenario[LifeState]{
		{name: "silent for ten beats", given: live, when: LoseNode{At: noon, Life: id(9), By: id(8), Missed: 10}, then: lost},
		{name: "silent for longer", given: live, when: LoseNode{At: noon, Life: id(9), By: id(8), Missed: 300}, then: lost},
		{name: "its successor need not wait", given: live, when: LoseNode{At: noon, Life: id(9), By: id(8), Successor: true}, then: lost},
		{name: "silent for nine beats", given: live, when: LoseNode{At: noon, Life: id(9), By: id(8), Missed: 9}, refuse: ErrNotLostYet},
		{name: "by itself", given: live, when: LoseNode{At: noon, Life: id(9), By: id(9), Successor: true}, refuse: ErrOwnNodeLost},
		{name: "stopped already", given: LifeState{Begun: true}, when: LoseNode{At: noon, Life: id(9), By: id(8), Missed: 10}, refuse: ErrLifeOver},
		{name: "by nobody", given: live, when: LoseNode{At: noon, Life: id(9), Missed: 10}, refuse: ErrIncomplete},
		{name: "no life", given: live, when: LoseNode{At: noon, By: id(8), Missed: 10}, refuse: ErrIncomplete},
		{name: "no time", given: live, when: LoseNode{Life: id(9), By: id(8), Missed: 10}, refuse: ErrIncomplete},
	})
}
