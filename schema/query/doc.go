// Package query defines the questions that are put to views and their answers. A
// question carries the positions its answer must not be older than; an answerer
// that can't reach them in time says so, it never answers with an old state.
package query
