//go:build race

package hostile

// raceDetector: this binary, which is Caddy too, needs far more memory.
const raceDetector = true
