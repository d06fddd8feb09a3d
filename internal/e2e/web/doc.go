// Package web tests the pages that the program serves, as people use them: the real program, and headless Chromium that
// clicks and types what a person would. It has no code besides its tests.
//
// What a browser complains of (an error in its console, an exception, a violation of the page's security policy, a dialog) and
// each request to another host than the server fail the test that the page is of, unless it is about to expect it.
//
// Tests find things as people who hear a page do: by role and name, as Chromium computes them for a screen reader. They wait
// for conditions, never for a time.
//
// Pictures of what they saw go to the directory web below the one that the environment variable GODWIT_ARTEFACTS names, or else
// to build/web-test of this checkout; of whatever failed there is one as well. Without Chromium the tests are skipped, but where
// the environment variable CI is set they fail.
//
// Flags, after -args: -patience limits each wait, -figures has TestFigures measure, -pictures DIR has TestPictures draw those of the README to DIR.
package web
