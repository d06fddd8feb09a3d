package commands

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"godwit/schema/event"
)

// DevicePolicy says which device classes exclude each other: of all classes in one group a user has at most one session. A
// class in no group has as many as it likes. The classes that a login replaces are recorded in its event, so that a
// changed policy changes no past.
type DevicePolicy [][]event.DeviceClass

// DefaultDevicePolicy is TeamTalk's, one desktop and one mobile session, and one web session beside them; none minds the
// others.
func DefaultDevicePolicy() DevicePolicy {
	return DevicePolicy{{event.DeviceClass_DEVICE_CLASS_DESKTOP}, {event.DeviceClass_DEVICE_CLASS_MOBILE}, {event.DeviceClass_DEVICE_CLASS_WEB}}
}

// ErrDevicePolicy is wrapped by every refusal of [ParseDevicePolicy].
var ErrDevicePolicy = errors.New("bad device policy")

// In the order of their numbers in the log.
var classNames = []struct {
	name  string
	class event.DeviceClass
}{
	{"desktop", event.DeviceClass_DEVICE_CLASS_DESKTOP},
	{"mobile", event.DeviceClass_DEVICE_CLASS_MOBILE},
	{"web", event.DeviceClass_DEVICE_CLASS_WEB},
}

// ParseDevicePolicy reads groups with commas between them and plus signs inside: "desktop,mobile,web" is the
// default, "desktop+mobile+web" allows one session of all three, "none" as many as one likes.
func ParseDevicePolicy(text string) (DevicePolicy, error) {
	if text == "none" {
		return DevicePolicy{}, nil
	}
	var p DevicePolicy
	for group := range strings.SplitSeq(text, ",") {
		var classes []event.DeviceClass
		for name := range strings.SplitSeq(group, "+") {
			i := slices.IndexFunc(classNames, func(c struct {
				name  string
				class event.DeviceClass
			}) bool {
				return c.name == strings.TrimSpace(name)
			})
			if i < 0 || slices.Contains(classes, classNames[i].class) {
				return nil, fmt.Errorf("%w: %q; give groups of desktop, mobile and web like %s, or none", ErrDevicePolicy, text, DefaultDevicePolicy())
			}
			classes = append(classes, classNames[i].class)
		}
		p = append(p, classes)
	}
	return p, nil
}

// String is the form that [ParseDevicePolicy] reads.
func (p DevicePolicy) String() string {
	if len(p) == 0 {
		return "none"
	}
	groups := make([]string, len(p))
	for i, group := range p {
		var names []string
		for _, c := range group {
			for _, n := range classNames {
				if n.class == c {
					names = append(names, n.name)
				}
			}
		}
		groups[i] = strings.Join(names, "+")
	}
	return strings.Join(groups, ",")
}

// Replaces lists the classes whose sessions a login of this class ends, by number, each once.
func (p DevicePolicy) Replaces(class event.DeviceClass) []event.DeviceClass {
	var replaced []event.DeviceClass
	for _, group := range p {
		if slices.Contains(group, class) {
			replaced = append(replaced, group...)
		}
	}
	slices.Sort(replaced)
	return slices.Compact(replaced)
}
