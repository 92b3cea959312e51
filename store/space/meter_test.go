package space_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store/space"
)

func TestMeterMeasuresAgainWhenTheLastTimeIsAWhileAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var measured int64
		m := space.NewMeter(func() (int64, error) { measured++; return measured, nil })
		expect := func(what string, get func() (int64, error), want int64) {
			t.Helper()
			if got, err := get(); got != want || err != nil {
				t.Errorf("%s: %d, %v, want %d", what, got, err, want)
			}
		}
		expect("at first", m.Recent, 1)
		expect("at once", m.Recent, 1)
		expect("asked for", m.Measure, 2)
		expect("at once after that", m.Recent, 2)
		m.Forget()
		expect("after Forget", m.Recent, 3)
		time.Sleep(time.Second)
		expect("a second later", m.Recent, 4)
	})
}

func TestMeterRemembersNoFailure(t *testing.T) {
	failure := errors.New("failure")
	err := failure
	m := space.NewMeter(func() (int64, error) { return 7, err })
	if _, got := m.Recent(); !errors.Is(got, failure) {
		t.Errorf("got %v", got)
	}
	err = nil
	if free, err := m.Recent(); free != 7 || err != nil {
		t.Errorf("got %d, %v", free, err)
	}
}
