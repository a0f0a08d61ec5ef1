//! Spoilt encoder files.

use super::*;

proptest! {
    #[test]
    fn any_bytes_are_an_encoder_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Encoder::from_bytes(&bytes).is_err());
    }

    #[test]
    fn a_spoilt_file_is_an_error_or_sound(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let draft = Draft::new(&pieces());
        let mut bytes = draft.bytes();
        let (at, data) = (at.index(bytes.len()), bytes.len() - draft.data.len());
        let changed = bytes[at] != byte;
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        let found = Encoder::from_bytes(&bytes);
        if cut {
            prop_assert_eq!(found.expect_err("cut").kind, ErrorKind::ArtifactInvalid);
        } else if changed && at >= data {
            prop_assert_eq!(found.expect_err("changed").kind, ErrorKind::ArtifactChecksum);
        }
    }
}

#[test]
fn refuses_what_is_no_encoder() {
    use ErrorKind::{ArtifactChecksum, ArtifactInvalid, ArtifactVersion};
    let spoil = |change: &dyn Fn(&mut Draft)| {
        let mut draft = Draft::new(&pieces());
        change(&mut draft);
        draft.bytes()
    };
    let manifest = |text: &str| spoil(&|draft| draft.metadata["tiny_dancer"] = text.into());
    let listing = |change: &dyn Fn(&mut Vec<String>)| {
        let mut pieces = pieces();
        change(&mut pieces);
        Draft::new(&pieces).bytes()
    };
    let draft = Draft::new(&pieces());
    let cases = [
        ("empty", vec![], ArtifactInvalid),
        ("short", vec![1; 7], ArtifactInvalid),
        ("header too large", [&(1_u64 << 40).to_le_bytes()[..], &[b' '; 64]].concat(), ArtifactInvalid),
        ("header over the bound", draft.with_header(&" ".repeat(MAX_HEADER + 1)), ArtifactInvalid),
        ("header beyond the end", [&500_u64.to_le_bytes()[..], b"{}"].concat(), ArtifactInvalid),
        ("no JSON", draft.with_header("nonsense"), ArtifactInvalid),
        ("deep JSON", draft.with_header(&"[".repeat(100_000)), ArtifactInvalid),
        ("no tensors", draft.with_header("{}"), ArtifactInvalid),
        ("file over the bound", vec![0; MAX_FILE + 1], ArtifactInvalid),
        ("no metadata", spoil(&|draft| draft.metadata = Value::Null), ArtifactInvalid),
        ("no manifest", spoil(&|draft| draft.metadata = json!({"sha256": ""})), ArtifactInvalid),
        ("manifest no JSON", manifest("{"), ArtifactInvalid),
        ("no version", manifest(r#"{"format": "one", "kind": "encoder"}"#), ArtifactInvalid),
        ("half a version", manifest(r#"{"format": "1.0", "kind": "encoder"}"#), ArtifactInvalid),
        ("next version", manifest(r#"{"format": "2.0.0", "kind": "encoder"}"#), ArtifactVersion),
        ("past version", manifest(r#"{"format": "0.9.0", "kind": "encoder"}"#), ArtifactVersion),
        ("other kind", manifest(r#"{"format": "1.0.0", "kind": "router"}"#), ArtifactInvalid),
        (
            "no checksum",
            spoil(&|draft| {
                draft.metadata.as_object_mut().map(|map| map.remove("sha256"));
            }),
            ArtifactInvalid,
        ),
        (
            "other checksum",
            spoil(&|draft| draft.metadata["sha256"] = "0".repeat(64).into()),
            ArtifactChecksum,
        ),
        ("changed row", spoil(&|draft| draft.data[5] ^= 1), ArtifactChecksum),
        (
            "cut",
            {
                let mut bytes = draft.bytes();
                bytes.pop();
                bytes
            },
            ArtifactInvalid,
        ),
        ("longer", [draft.bytes(), vec![0]].concat(), ArtifactInvalid),
        ("wrong type", spoil(&|draft| draft.embeddings["dtype"] = "U8".into()), ArtifactInvalid),
        (
            "wrong width",
            spoil(&|draft| draft.embeddings["shape"] = json!([pieces().len() * 2, DIM / 2])),
            ArtifactInvalid,
        ),
        ("wrong vocabulary type", spoil(&|draft| draft.vocabulary["dtype"] = "I8".into()), ArtifactInvalid),
        ("overlapping", spoil(&|draft| draft.vocabulary["data_offsets"][0] = json!(3)), ArtifactInvalid),
        ("piece twice", listing(&|pieces| pieces[5] = pieces[6].clone()), ArtifactInvalid),
        ("no [UNK]", listing(&|pieces| pieces[1] = "other".into()), ArtifactInvalid),
        ("empty piece", listing(&|pieces| pieces[5] = String::new()), ArtifactInvalid),
        ("long piece", listing(&|pieces| pieces[5] = "a".repeat(MAX_PIECE + 1)), ArtifactInvalid),
        ("piece too many", listing(&|pieces| pieces[5] = "new\nline".into()), ArtifactInvalid),
        (
            "not UTF-8",
            {
                let mut draft = Draft::new(&pieces());
                *draft.data.last_mut().expect("full") = 0xFF;
                draft.metadata["sha256"] = hexadecimal(&Sha256::digest(&draft.data)).into();
                draft.bytes()
            },
            ArtifactInvalid,
        ),
        (
            "piece too few",
            {
                let (pieces, mut draft) = (pieces(), Draft::new(&pieces()));
                let line = draft.data.iter_mut().rev().find(|byte| **byte == b'\n').expect("lines");
                *line = b'x';
                assert!(pieces.len() > 1);
                draft.metadata["sha256"] = hexadecimal(&Sha256::digest(&draft.data)).into();
                draft.bytes()
            },
            ArtifactInvalid,
        ),
    ];
    for (name, bytes, kind) in cases {
        let error = Encoder::from_bytes(&bytes).expect_err(name);
        assert_eq!(error.kind, kind, "{name}: {error}");
        assert!(error.field.starts_with("encoder") && !error.remedy.is_empty(), "{name}: {error}");
    }
}
