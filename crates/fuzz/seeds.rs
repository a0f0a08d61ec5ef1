//! Writes the seeds: `cargo run --example seeds`.

#[path = "../tiny-dancer/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;

use support::cell::{ClassifierDraft, Form, Numbers};
use support::scorers::ScorerDraft;
use support::{Draft, Plan, Random};

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    fs::create_dir_all(folder.join("load"))?;
    fs::create_dir_all(folder.join("route"))?;
    fs::create_dir_all(folder.join("rank"))?;
    for (name, backends, components) in [
        ("constant", vec![], 0),
        ("linear", vec!["linear"], 1),
        ("all", vec!["linear", "trees", "memory"], 2),
        ("fastgrnn", vec!["fastgrnn"], 1),
    ] {
        let plan = Plan { models: 2, components, backends, encoder: None };
        let bytes = Draft::new(&mut Random(2), &plan).bytes();
        fs::write(folder.join("load").join(name), [&[0], &bytes[..]].concat())?;
    }
    for (name, numbers) in [("f32", Numbers::F32), ("int8", Numbers::Int8), ("sparse", Numbers::SparseInt8)] {
        let form = Form { ranks: [Some(2), None], ..Form::plain(numbers) };
        let bytes = ClassifierDraft::of_vectors(&mut Random(2), 5, 3, Some(form)).bytes();
        fs::write(folder.join("load").join(format!("classifier-{name}")), [&[0], &bytes[..]].concat())?;
    }
    for (name, form) in [("linear", None), ("fastgrnn", Some(Form::plain(Numbers::Int8)))] {
        let bytes = ScorerDraft::new(&mut Random(2), form).calibrated(&mut Random(3), [0.0, 1.0], 3).bytes();
        fs::write(folder.join("load").join(format!("candidates-{name}")), [&[0], &bytes[..]].concat())?;
    }
    // Edits of four bytes: what, where, which value (see load.rs).
    for draft in 0..48u8 {
        let edits = [2 * draft + 1, 3, draft, 0, draft, 4, 40 * (draft % 6), draft % 3, draft];
        fs::write(folder.join("load").join(format!("edits-{draft}")), edits)?;
    }
    let texts = [
        "What is 12 times 11?",
        "Which of these is a prime? a. 4 b. 7 c. 9 d. 21 answer:",
        "write a haiku about déjà vu — x² ½ ﷺ e\u{301}\u{327}",
        "fn main() { println!(\"{}\", 1.5 / 2.0); }",
        "你好，世界。 สวัสดี 😀👩\u{200d}👧",
        "A train travels 60 km in $1,234.50 and 3/4 hours; how many more than twice as much?",
        "[{\"name\": \"f\", \"parameters\": {\"type\": \"object\"}}]",
    ];
    for (number, text) in texts.iter().enumerate() {
        // Choices are read from the front, lengths from the end.
        for (start, kind) in
            [(&[0u8, 0, 0, 255, 255][..], "text"), (&[1, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "options")]
        {
            let mut bytes = start.to_vec();
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(text.len() as u8);
            fs::write(folder.join("route").join(format!("{kind}-{number}")), bytes)?;
        }
    }
    let mut random = Random(5);
    for number in 0..48 {
        let bytes: Vec<u8> =
            (0..4 + number).flat_map(|_| random.bits().to_le_bytes()).take(2 * number + 8).collect();
        fs::write(folder.join("rank").join(format!("random-{number}")), bytes)?;
    }
    Ok(())
}
