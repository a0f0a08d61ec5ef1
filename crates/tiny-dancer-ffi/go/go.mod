module github.com/tiny-dancer/tiny-dancer/crates/tiny-dancer-ffi/go

go 1.24
