package command

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/schollz/progressbar/v3"
)

// follow asks for what lasts, draws how far it has come, and decodes the answer
// at the end of the stream.
func follow[T any](c *call, path string, query url.Values, doing string) (answer T, err error) {
	query.Set("progress", "true")
	stream, err := c.api.open(http.MethodPost, path, c.inStore(query))
	if err != nil {
		return answer, err
	}
	defer stream.Close()
	bar := progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(c.ErrOrStderr()),
		progressbar.OptionSetDescription(doing),
		progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionThrottle(50*time.Millisecond),
		progressbar.OptionFullWidth(),
		progressbar.OptionClearOnFinish(),
	)
	// The bar only decorates: an error of drawing it is of no consequence.
	defer func() { _ = bar.Clear() }()
	lines := json.NewDecoder(stream)
	for {
		var line json.RawMessage
		if err := lines.Decode(&line); err != nil {
			return answer, c.broken(err)
		}
		var step struct {
			Done  *int64 `json:"done"`
			Total int64  `json:"total"`
			Error string `json:"error"`
		}
		if err := json.Unmarshal(line, &step); err != nil {
			return answer, c.broken(err)
		}
		switch {
		case step.Error != "":
			return answer, errors.New(step.Error)
		case step.Done == nil:
			return answer, json.Unmarshal(line, &answer)
		}
		bar.ChangeMax64(step.Total)
		_ = bar.Set64(*step.Done)
	}
}

// broken tells of a stream that ends before its answer.
func (c *call) broken(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return c.api.cut(err)
}
