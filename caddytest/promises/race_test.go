//go:build race

package promises

// raceDetector: this binary, which is Caddy too, needs far more memory.
const raceDetector = true
