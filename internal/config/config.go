// Package config settles the value of every flag of a command: from the command
// line, else from the environment, else from the configuration file, else its
// default.
//
// Flag --some-name is also the variable GODWIT_SOME_NAME and the key some-name of
// the file that --config names. A file may hold settings of several commands; a key
// that no command has is refused. Every refusal is one sentence with the place, the
// value and what would be accepted, and comes before a command does anything.
package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// EnvPrefix begins the name of every variable.
const EnvPrefix = "GODWIT"

// FileFlag is the flag that names the configuration file.
const FileFlag = "config"

// ErrSetting is wrapped by every refusal of a setting.
var ErrSetting = errors.New("bad setting")

// said is a refusal that needs no more words than its own. It is ErrSetting.
type said struct{ error }

func (s said) Is(target error) bool { return target == ErrSetting }
func (s said) Unwrap() error        { return s.error }

func refusef(format string, args ...any) error { return said{fmt.Errorf(format, args...)} }

// SettingError is a value that was refused. It is ErrSetting.
type SettingError struct {
	Where string // the flag, variable or key, as the user would write it
	Value string
	Mend  error // what would be accepted
}

func (e *SettingError) Error() string {
	return fmt.Sprintf("%s is %q: %v", e.Where, e.Value, e.Mend)
}

// Is makes a SettingError an ErrSetting.
func (e *SettingError) Is(target error) bool { return target == ErrSetting }

func (e *SettingError) Unwrap() error { return e.Mend }

// notFromOutside are flags that say what to do rather than how: they are not
// settings and come from the command line only.
var notFromOutside = []string{"help", "version"}

// EnvName is the variable of a flag.
func EnvName(flag string) string {
	return EnvPrefix + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Apply gives every flag of cmd that the command line does not set the value that
// the environment or the file has for it. It is to run before the command's own
// code, once.
func Apply(cmd *cobra.Command) error {
	env := viper.New()
	env.SetEnvPrefix(EnvPrefix)
	env.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	env.AutomaticEnv()

	file, name, err := readFile(cmd, env)
	if err != nil {
		return err
	}
	var errs []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == FileFlag || slices.Contains(notFromOutside, f.Name) {
			return
		}
		switch {
		case env.IsSet(f.Name):
			errs = append(errs, set(f, EnvName(f.Name), env.GetString(f.Name), list(env.GetString(f.Name))))
		case file != nil && file.IsSet(f.Name):
			errs = append(errs, set(f, fmt.Sprintf("%s in %s", f.Name, name), file.GetString(f.Name), file.GetStringSlice(f.Name)))
		}
	})
	return errors.Join(errs...)
}

// list is one value of the environment as the parts of a flag that takes several.
func list(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
}

// set gives the flag a value from outside: the parts where it takes several, the
// text elsewhere.
func set(f *pflag.Flag, where, text string, parts []string) error {
	var err error
	if many, ok := f.Value.(pflag.SliceValue); ok {
		text = strings.Join(parts, ",")
		err = many.Replace(parts)
	} else {
		err = f.Value.Set(text)
	}
	if err != nil {
		return &SettingError{Where: where, Value: text, Mend: Mend(f, err)}
	}
	f.Changed = true
	return nil
}

// readFile reads the configuration file, if one is named, and refuses keys that no
// command has.
func readFile(cmd *cobra.Command, env *viper.Viper) (v *viper.Viper, name string, err error) {
	f := cmd.Flags().Lookup(FileFlag)
	if f == nil {
		return nil, "", nil
	}
	if name = f.Value.String(); !f.Changed {
		name = env.GetString(FileFlag)
	}
	if name == "" {
		return nil, "", nil
	}
	v = viper.New()
	v.SetConfigFile(name)
	if filepath.Ext(name) == "" {
		v.SetConfigType("yaml")
	}
	if err := v.ReadInConfig(); err != nil {
		if _, ok := errors.AsType[*os.PathError](err); ok {
			return nil, "", refusef("cannot read the configuration file: %w", err)
		}
		return nil, "", refusef("%s is no configuration file: %w", name, err)
	}
	known := settings(cmd.Root())
	for _, key := range slices.Sorted(slices.Values(v.AllKeys())) {
		if !slices.Contains(known, key) {
			return nil, "", refusef("%s has the unknown key %q%s", name, key, suggest(key, known))
		}
	}
	return v, name, nil
}

// settings are the names of all flags of all commands that a file may hold.
func settings(c *cobra.Command) []string {
	var names []string
	add := func(f *pflag.Flag) {
		if f.Name != FileFlag && !slices.Contains(notFromOutside, f.Name) {
			names = append(names, f.Name)
		}
	}
	c.LocalFlags().VisitAll(add)
	for _, sub := range c.Commands() {
		names = append(names, settings(sub)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// suggest names the known key that is nearest, if one is near.
func suggest(key string, known []string) string {
	best, least := "", 1+max(1, min(3, len(key)/3)) // half of a short word is no typing error
	for _, k := range known {
		if d := distance(key, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ": remove it; godwit COMMAND --help lists the settings, which are the flags without --"
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// distance is the number of letters to add, drop or change to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// FlagError turns a refusal of the flag library into one sentence, as cobra's
// flag error function.
func FlagError(cmd *cobra.Command, err error) error {
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		f := bad.GetFlag()
		return &SettingError{Where: "--" + f.Name, Value: bad.GetValue(), Mend: Mend(f, bad.Unwrap())}
	}
	return refusef("%w; see %s --help", err, cmd.CommandPath())
}

// Mend says what a flag would accept: our own values say it themselves, those of
// the flag library are said here.
func Mend(f *pflag.Flag, err error) error {
	switch f.Value.Type() {
	case "int", "int64", "uint", "uint16", "uint32", "uint64":
		return errors.New("give a whole number")
	case "bool":
		return errors.New("give true or false")
	case "duration":
		return errors.New("give a duration such as 30s or 2m")
	}
	return err
}
