//go:build forced_panic

package tinydancer

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"
)

type answered struct {
	Model  string `json:"model"`
	Level  int    `json:"level"`
	Reason string `json:"level_reason"`
}

func decided(t *testing.T, router *Router, request, options string) answered {
	t.Helper()
	answer, err := router.Decide(request, options)
	if err != nil {
		t.Fatal(err)
	}
	var found answered
	if err := json.Unmarshal([]byte(answer), &found); err != nil {
		t.Fatal(err)
	}
	return found
}

func state(t *testing.T, status func() (string, error)) string {
	t.Helper()
	said, err := status()
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Breaker struct {
			State string `json:"state"`
		} `json:"breaker"`
	}
	if err := json.Unmarshal([]byte(said), &found); err != nil {
		t.Fatal(err)
	}
	return found.Breaker.State
}

// A panic is forced in the thread that asks.
func onOneThread(t *testing.T) {
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
}

func TestRulesDecideWhileTheEngineFails(t *testing.T) {
	onOneThread(t)
	router, err := LoadRouter(artifact(t), RouterOptions{Breaker: `{"threshold": 3, "cooldown": 300}`})
	if err != nil {
		t.Fatal(err)
	}
	defer router.Close()
	usual := decided(t, router, why, "")
	if usual.Level != 0 || usual.Reason != "" {
		t.Fatalf("%+v", usual)
	}
	for range 3 {
		if found := state(t, router.Status); found != "closed" {
			t.Fatal(found)
		}
		forcePanic()
		found := decided(t, router, why, "")
		if found.Level != 2 || !strings.HasPrefix(found.Reason, "engine failure (it panicked: forced by a test)") {
			t.Fatalf("%+v", found)
		}
	}
	if found := state(t, router.Status); found != "open" {
		t.Fatal(found)
	}
	found := decided(t, router, why, "")
	if found.Level != 2 || !strings.HasPrefix(found.Reason, "circuit open") {
		t.Fatalf("%+v", found)
	}
	// What was asked holds, and what the caller did wrong is an error, on every level.
	if pinned := decided(t, router, why, `{"pin": "`+usual.Model+`"}`); pinned.Model != usual.Model {
		t.Fatalf("%+v", pinned)
	}
	if _, err := router.Decide(why, `{"pin": "nobody"}`); err == nil {
		t.Fatal("a model that nobody knows was pinned")
	}
	// A reload closes no breaker: it says what serves, and not that it answers.
	if err := router.Reload(artifact(t)); err != nil {
		t.Fatal(err)
	}
	if found := state(t, router.Status); found != "open" {
		t.Fatal(found)
	}
}

func TestWithoutABreakerAFailureIsAnErrorAndTheNextCallAnswers(t *testing.T) {
	onOneThread(t)
	router, err := LoadRouter(artifact(t), RouterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer router.Close()
	forcePanic()
	_, err = router.Decide(why, "")
	if found, is := err.(*Error); !is || found.Code != "EngineStopped" {
		t.Fatalf("%v", err)
	}
	if found := decided(t, router, why, ""); found.Level != 0 {
		t.Fatalf("%+v", found)
	}
}

func TestCandidatesComeAsTheyWereGivenWhileTheScorerFails(t *testing.T) {
	onOneThread(t)
	candidates, err := NewCandidates(nil, nil, `{"threshold": 2, "cooldown": 300}`)
	if err != nil {
		t.Fatal(err)
	}
	defer candidates.Close()
	if err := candidates.AddVectors([]float32{0, 1, 1, 0}, 2); err != nil {
		t.Fatal(err)
	}
	for call := range 4 {
		// The third call and those after it are not asked: the breaker is open.
		if call < 2 {
			forcePanic()
		}
		found, level, err := candidates.RankVector([]float32{1, 0}, 2)
		if err != nil || level != 3 || len(found) != 2 || found[0].Row != 0 {
			t.Fatalf("%v %v %v", found, level, err)
		}
	}
}
