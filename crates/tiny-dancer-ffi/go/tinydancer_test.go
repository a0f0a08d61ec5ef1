package tinydancer

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"
)

const why = `"Why?"`

// artifact is one that needs no encoder; the test that starts this says where.
func artifact(t *testing.T) []byte {
	data, err := os.ReadFile(os.Getenv("TINY_DANCER_ARTIFACT"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func refused(t *testing.T, err error, code string) {
	t.Helper()
	var found *Error
	if !errors.As(err, &found) || found.Code != code || found.Field == "" || found.Remedy == "" {
		t.Fatalf("%v in place of %s", err, code)
	}
}

func TestWhatIsWrongIsAnError(t *testing.T) {
	router, err := LoadRouter(artifact(t), RouterOptions{Breaker: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range []string{"", "\"\xff\"", "\"a\x00b\"", "{}"} {
		_, err = router.Decide(request, "")
		refused(t, err, "RequestInvalid")
	}
	_, err = router.Decide(why, `{"pin": "nobody"}`)
	refused(t, err, "OptionInvalid")
	refused(t, router.Reload([]byte{1, 2, 3}), "ArtifactInvalid")
	_, err = LoadRouter(nil, RouterOptions{})
	refused(t, err, "ArtifactInvalid")
	_, err = NewAgents(-1)
	refused(t, err, "OptionInvalid")
	router.Close()
	router.Close()
	_, err = router.Decide(why, "")
	refused(t, err, "ArgumentInvalid")
}

func TestClosingWaitsForCallsAndReloadsAreSeenWhole(t *testing.T) {
	data := artifact(t)
	router, err := LoadRouter(data, RouterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	expected, err := router.Decide(why, "")
	if err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	for range 8 {
		asking.Add(1)
		go func() {
			defer asking.Done()
			for {
				answer, err := router.Decide(why, "")
				if err != nil {
					refused(t, err, "ArgumentInvalid")
					return
				}
				if answer != expected {
					t.Error(answer)
				}
			}
		}()
	}
	for range 20 {
		if err := router.Reload(data); err != nil {
			t.Error(err)
		}
		runtime.GC()
	}
	router.Close()
	asking.Wait()
}

func TestWhatNobodyHoldsIsFreedAndNotBefore(t *testing.T) {
	data := artifact(t)
	for range 50 {
		router, err := LoadRouter(data, RouterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		if _, err = router.Decide(why, ""); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatWasNeverMadeIsRefusedAndNoPanic(t *testing.T) {
	failed, err := LoadRouter(nil, RouterOptions{})
	refused(t, err, "ArtifactInvalid")
	var zero Router
	for _, router := range []*Router{failed, &zero} {
		_, err = router.Decide(why, "")
		refused(t, err, "ArgumentInvalid")
		refused(t, router.Reload(artifact(t)), "ArgumentInvalid")
		router.Close()
	}
	encoder, err := LoadEncoder(nil)
	if err == nil {
		t.Fatal("no bytes are no encoder")
	}
	router, err := LoadRouter(artifact(t), RouterOptions{Encoder: encoder})
	if err != nil {
		t.Fatal(err)
	}
	router.Close()
	candidates, err := NewCandidates(nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer candidates.Close()
	for _, k := range []int{0, 1 << 60} {
		_, _, err = candidates.RankVector([]float32{1}, k)
		refused(t, err, "OptionInvalid")
	}
}
