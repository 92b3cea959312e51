//go:build race

package soak

// raceDetector: this binary, which is Caddy too, needs far more memory.
const raceDetector = true
