package password

import (
	"context"
	"crypto/md5"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"
)

// teamTalkPrefix begins a stored hash as TeamTalk's own database has it, moved in from there:
//
//	$teamtalk$SALT$SUM
//
// SUM is the MD5, in lower-case hex, of what the client sends followed by SALT. It is good for one login: see [Outdated].
const teamTalkPrefix = "$teamtalk$"

// maxTeamTalkSalt is generous: the original's are of four digits, in a column of ten.
const maxTeamTalkSalt = 64

// TeamTalkHash makes the stored hash of an account of TeamTalk's database from its columns salt and password. It fails with
// [ErrHash] where they are none.
func TeamTalkHash(salt, sum string) (string, error) {
	if len(salt) > maxTeamTalkSalt {
		return "", fmt.Errorf("%w: salt is %d bytes long, at most %d", ErrHash, len(salt), maxTeamTalkSalt)
	}
	if !isMD5Hex(sum) {
		return "", fmt.Errorf("%w: sum is not 32 lower-case hex digits", ErrHash)
	}
	return teamTalkPrefix + salt + "$" + sum, nil
}

// Outdated tells whether a stored hash should give way to a new one as soon as the client's text is known to be right: those
// of TeamTalk are quick to guess.
func Outdated(stored string) bool { return strings.HasPrefix(stored, teamTalkPrefix) }

// verifyTeamTalk does the work of a [Hasher.Verify] over a hash of our own, so that nobody can tell by the time it takes
// which accounts have moved in and not logged in yet.
func (h *Hasher) verifyTeamTalk(ctx context.Context, md5hex, stored string) (bool, error) {
	rest := stored[len(teamTalkPrefix):]
	at := strings.LastIndexByte(rest, '$')
	if at < 0 {
		return false, fmt.Errorf("%w: no salt and sum", ErrHash)
	}
	salt, sum := rest[:at], rest[at+1:]
	if _, err := TeamTalkHash(salt, sum); err != nil {
		return false, err
	}
	if !isMD5Hex(md5hex) {
		return false, nil
	}
	if _, err := h.derive(ctx, md5hex, h.dummy, len(h.dummy.hash)); err != nil {
		return false, err
	}
	got := md5.Sum([]byte(md5hex + salt))
	var text [2 * md5.Size]byte
	hex.Encode(text[:], got[:])
	return subtle.ConstantTimeCompare(text[:], []byte(sum)) == 1, nil
}
