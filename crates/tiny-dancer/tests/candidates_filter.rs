//! Filters over sets that change: what passes is what each candidate says of itself, whatever came and went before.

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};
use support::Random;
use tiny_dancer::candidates::{
    Candidate, CandidateDoor, CandidateScorer, CandidateSet, Expression, Filter, Metadata, Precision,
    Value as Property,
};
use tiny_dancer::{ErrorKind, Result};

fn expression(value: &Value) -> Expression {
    match value {
        Value::Null => Expression::Null,
        Value::Bool(value) => Expression::Boolean(*value),
        Value::Number(number) => {
            Expression::value(Property::Written(&number.to_string()), "where").expect("finite")
        }
        Value::String(text) => Expression::Text(text.clone()),
        Value::Array(items) => Expression::List(items.iter().map(expression).collect()),
        Value::Object(members) => Expression::Object(
            members.iter().map(|(name, value)| (name.clone(), expression(value))).collect(),
        ),
    }
}

fn filter(value: &Value) -> Result<Filter> {
    Filter::new(expression(value), "where")
}

#[derive(Clone, Debug)]
struct Made {
    id: String,
    metadata: Vec<(&'static str, Property<'static>)>,
    namespace: Vec<&'static str>,
    group: Option<&'static str>,
    confidence: Option<f64>,
}

const VALUES: [Property<'static>; 9] = [
    Property::Text("1"),
    Property::Number(1.0),
    Property::Number(2.5),
    Property::Boolean(true),
    Property::Text("true"),
    Property::Text("b"),
    Property::Text(""),
    Property::Written("9007199254740993"),
    Property::Number(1e21),
];

impl Made {
    fn any(random: &mut Random, id: usize) -> Self {
        let value = |random: &mut Random| VALUES[random.below(VALUES.len())];
        Self {
            id: format!("c{id}"),
            metadata: (0..random.below(4))
                .map(|_| (["a", "b", "b.c"][random.below(3)], value(random)))
                .collect(),
            namespace: (0..random.below(3)).map(|_| ["x", "y", "x1:y"][random.below(3)]).collect(),
            group: [None, Some("g"), Some("h")][random.below(3)],
            confidence: random.chance(0.5).then(|| random.below(4) as f64 / 10.0),
        }
    }

    fn lend<T>(&self, work: impl FnOnce(&Candidate) -> T) -> T {
        let mut metadata = Metadata::default();
        for (key, value) in &self.metadata {
            metadata.key(key);
            metadata.value(*value).expect("finite");
        }
        work(&Candidate {
            id: &self.id,
            metadata: &metadata.pairs(),
            namespace: &self.namespace,
            group: self.group,
            confidence: self.confidence,
            ..Candidate::default()
        })
    }

    fn texts(&self, key: &str) -> Vec<String> {
        let of_key = self.metadata.iter().filter(|(name, _)| *name == key);
        of_key.map(|(_, value)| value.read("v", str::to_owned).expect("finite")).collect()
    }
}

type Passes = fn(&Made) -> bool;

/// Filters, each with what it says in Rust.
fn cases() -> Vec<(Value, Passes)> {
    fn has(each: &Made, key: &str, text: &str) -> bool {
        each.texts(key).iter().any(|own| own == text)
    }
    vec![
        (json!({}), |_| true),
        (json!({"a": 1}), |each| has(each, "a", "1")),
        (json!({"a": "1", "b": true}), |each| has(each, "a", "1") && has(each, "b", "true")),
        (json!({"a": {"$ne": "b"}}), |each| !has(each, "a", "b")),
        (json!({"a": [null, "", "b"]}), |each| has(each, "a", "") || has(each, "a", "b")),
        (json!({"a": []}), |_| false),
        (json!({"b": {"$exists": true}}), |each| {
            !each.texts("b").is_empty() || !each.texts("b.c").is_empty()
        }),
        (json!({"$nor": [{"a": 1}, {"b.c": {"$exists": true}}]}), |each| {
            !has(each, "a", "1") && each.texts("b.c").is_empty()
        }),
        (json!({"a": {"$gt": 1, "$lt": 1e22}}), |each| {
            ["2.5", "9007199254740993", "1e+21"].iter().any(|text| has(each, "a", text))
        }),
        (json!({"a": {"$gte": ""}}), |each| {
            each.metadata.iter().any(|(key, value)| *key == "a" && matches!(value, Property::Text(_)))
        }),
        (json!({"$namespace": ["x"]}), |each| each.namespace.first() == Some(&"x")),
        (json!({"$namespace": {"$eq": ["x1:y"]}}), |each| each.namespace == ["x1:y"]),
        (json!({"$not": {"$namespace": {"$exists": true}}}), |each| each.namespace.is_empty()),
        (json!({"$group": ["g", "i"]}), |each| each.group == Some("g")),
        (json!({"$confidence": {"$gte": 0.1}}), |each| each.confidence.is_some_and(|value| value >= 0.1)),
        (json!({"$confidence": 0.3}), |each| each.confidence == Some(0.3)),
        (json!({"$or": [{"$id": ["c1", "c2"]}, {"$id": {"$gte": "c8"}}]}), |each| {
            each.id == "c1" || each.id == "c2" || *each.id >= *"c8"
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_passes_is_what_each_says_whatever_came_and_went(seed in any::<u64>(), steps in 1usize..120) {
        let mut random = Random(seed);
        let mut set = CandidateSet::new(None, Precision::Full).expect("no dimensions");
        let mut model: Vec<Made> = Vec::new();
        let cases: Vec<(Filter, Passes)> = cases().into_iter().map(|(said, passes)| (filter(&said).expect("a filter"), passes)).collect();
        let (_, mut changes) = set.version();
        for step in 0..steps {
            let made = Made::any(&mut random, step);
            match random.below(4) {
                0 if !model.is_empty() => {
                    let gone = model.remove(random.below(model.len()));
                    set.remove(&[&gone.id]).expect("known");
                }
                1 if !model.is_empty() => {
                    let at = random.below(model.len());
                    model[at] = Made { id: model[at].id.clone(), ..made };
                    model[at].lend(|candidate| set.update(candidate, None)).expect("known");
                }
                _ => {
                    made.lend(|candidate| set.append(std::slice::from_ref(candidate), &[])).expect("new");
                    model.push(made);
                }
            }
            prop_assert!(set.version().1 > changes);
            changes = set.version().1;
        }
        for (filter, passes) in &cases {
            let flags = set.matching(filter);
            for made in &model {
                let row = set.row(&made.id).expect("known");
                prop_assert_eq!(flags[row], passes(made), "{} {:?}", filter, made);
            }
        }
    }
}

#[test]
fn filters_that_say_the_same_are_equal_and_are_written_in_one_form() {
    for (one, other, written) in [
        (json!({"a": 1, "b": 2}), json!({"b": "2", "a": 1.0}), r#"{"$and": [{"a": "1"}, {"b": "2"}]}"#),
        (json!({"a": ["y", "x", "x"]}), json!({"a": {"$in": ["x", "y"]}}), r#"{"a": ["x", "y"]}"#),
        (json!({"a": {"$gt": 1.0}}), json!({"$and": [{"a": {"$gt": 1}}]}), r#"{"a": {"$gt": 1}}"#),
        (
            json!({"$namespace": ["a:", "é"]}),
            json!({"$namespace": ["a:", "é"]}),
            r#"{"$namespace": ["a:", "é"]}"#,
        ),
        (json!({"a": null}), json!({"a": []}), r#"{"a": []}"#),
        (json!({}), json!({}), "{}"),
    ] {
        let (one, other) = (filter(&one).expect("a filter"), filter(&other).expect("a filter"));
        assert_eq!(one, other);
        assert_eq!(one.to_string(), written);
        let again: Value = serde_json::from_str(written).expect("JSON");
        assert_eq!(filter(&again), Ok(one));
    }
    for (one, other) in [
        (json!({"a": {"$gt": 1}}), json!({"a": {"$gt": "1"}})),
        (json!({"a": {"$gt": 1}}), json!({"a": {"$gte": 1}})),
        (json!({"a": "x"}), json!({"b": "x"})),
        (json!({"$namespace": ["a", "b"]}), json!({"$namespace": ["ab"]})),
        (json!({"$namespace": ["a"]}), json!({"$namespace": {"$eq": ["a"]}})),
    ] {
        assert_ne!(filter(&one), filter(&other));
    }
}

#[test]
fn what_is_no_filter_is_refused_by_its_place() {
    for (given, field) in [
        (json!([]), "where"),
        (json!("a"), "where"),
        (json!({"$where": 1}), "where.$where"),
        (json!({"a": {"$regex": "x"}}), "where.a.$regex"),
        (json!({"a": {"$gt": 1, "b": 2}}), "where.a"),
        (json!({"a": {"b": 2}}), "where.a"),
        (json!({"a": {}}), "where.a"),
        (json!({"a": {"$eq": []}}), "where.a.$eq"),
        (json!({"a": {"$in": "x"}}), "where.a.$in"),
        (json!({"a": {"$in": null}}), "where.a.$in"),
        (json!({"a": [["x"]]}), "where.a"),
        (json!({"a": [{"$eq": 1}]}), "where.a"),
        (json!({"a": {"$gt": true}}), "where.a.$gt"),
        (json!({"a": {"$gt": [1]}}), "where.a.$gt"),
        (json!({"a": {"$exists": 1}}), "where.a.$exists"),
        (json!({"a": {"$not": {"$eq": 1}}}), "where.a.$not"),
        (json!({"$or": []}), "where.$or"),
        (json!({"$and": {}}), "where.$and"),
        (json!({"$nor": [{"a": 1}, 5]}), "where.$nor[1]"),
        (json!({"$not": [{"a": 1}]}), "where.$not"),
        (json!({"$namespace": "a"}), "where.$namespace"),
        (json!({"$namespace": ["a", 1]}), "where.$namespace"),
        (json!({"$namespace": {"$in": [["a"]]}}), "where.$namespace.$in"),
        (json!({"$confidence": "high"}), "where.$confidence"),
        (json!({"$created_at": "soon"}), "where.$created_at"),
    ] {
        let error = filter(&given).expect_err("no filter");
        assert_eq!((error.kind, &*error.field), (ErrorKind::CandidateInvalid, field), "{given}: {error}");
        assert!(!error.remedy.is_empty());
    }
    let nested = |depth: usize| (0..depth).fold(json!({"a": 1}), |inner, _| json!({"$not": inner}));
    assert!(filter(&nested(32)).is_ok());
    assert_eq!(filter(&nested(33)).expect_err("too deep").value, "nested too deeply");
    let many = |count: usize| json!({"$or": vec![json!({}); count]});
    assert!(filter(&many(1_000)).is_ok() && filter(&many(1_001)).is_err());
    assert!(
        filter(&json!({"a": vec![0; 100_000]})).is_ok() && filter(&json!({"a": vec![0; 100_001]})).is_err()
    );
    let mut door = CandidateDoor::new(Precision::Full, None);
    for (given, field) in [
        (r#"{"where": {"a": 1, "a": 2}}"#, "query.where.a"),
        (r#"{"where": {"a": {"$gt": 1, "$gt": 2}}}"#, "query.where.a.$gt"),
        (r#"{"where": {"a": {"$gt": 1e999}}}"#, "query.where.a.$gt"),
    ] {
        let error = door.rank(&CandidateScorer::default(), given).expect_err(given);
        assert_eq!((error.kind, &*error.field), (ErrorKind::CandidateInvalid, field), "{error}");
    }
}
