// Package projectiontest is the suite that every projection passes: whatever the
// log and however it is cut, stopped, crashed and folded again, the rows and the
// effects at a position are the same.
package projectiontest
