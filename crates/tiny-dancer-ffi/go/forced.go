//go:build forced_panic

package tinydancer

/*
#include <stdint.h>
void td_force_panic(uint32_t place);
*/
import "C"

// forcePanic makes the next call of this thread panic where it asks what was learned, in a library that was built for
// tests.
func forcePanic() { C.td_force_panic(2) }
