// Package password checks what a client sends as its password, and keeps such checks cheap for the honest and dear for
// the rest.
//
// A TeamTalk client never sends the plain password but its MD5 in lower-case hex, so that text is the secret here: it is
// run through argon2id and kept as a PHC string. The package has three parts, used at a login in this order:
//
//  1. [Limiter.Allow] refuses an address that has guessed too often. It comes first, or the memory below would answer
//     guesses for nothing.
//  2. [Remembered.Check] recognises a pair that was proved right a few minutes ago, with one HMAC instead of argon2id.
//  3. [Hasher.Verify], or [Hasher.VerifyNobody] where the name is unknown, so that the time of an answer does not tell
//     which names exist. For a disabled account verify first and refuse afterwards, for the same reason.
//
// Then exactly one of [Limiter.Succeeded], [Limiter.Failed] and [Limiter.Abandoned] says how it ended, and a success goes
// into [Remembered.Remember]. Nothing here logs, does I/O, or keeps a password: the memory holds keyed hashes under a key
// that dies with the process.
package password
