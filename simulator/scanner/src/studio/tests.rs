//! The default subject at the default quality: good enough for every client, never perfect.

use biosim_image::Subject;
use biotrust_model::{Level, SubId};

use super::*;
use crate::Spec;
use crate::scene::DEFAULT_CEILING;

/// Score that the compliance kit and the clients ask for at least.
const ASKED_FOR: f32 = 40.0;

fn subject() -> Arc<CalibratedSubject> {
    Arc::new(CalibratedSubject::new(Subject::new(1, None)))
}

fn average(studio: &Studio, view: &View, quality: u8, take: u64) -> f32 {
    let scene = Scene::default();
    let look = Look { view, scene: &scene, quality, take, wanted: None };
    let frame = studio.frame(&look, &|| false).unwrap().unwrap();
    frame.average().expect("all parts are found").value()
}

#[test]
fn the_default_subject_is_good_enough_for_clients_and_never_perfect() {
    let subject = subject();
    for (kind, purpose) in [
        (Kind::SlapFinger, Purpose::Registration),
        (Kind::SingleFinger, Purpose::Auth),
        (Kind::DoubleIris, Purpose::Registration),
        (Kind::SingleIris, Purpose::Auth),
        (Kind::Face, Purpose::Registration),
    ] {
        let spec = Spec { kind, level: Level::L0, purpose };
        let studio = Studio::new(spec.kind, spec.purpose, Arc::clone(&subject));
        for sub_id in kind.sub_ids() {
            let view = View::of_stream(kind, *sub_id);
            for take in 0..TAKES {
                let score = average(&studio, &view, DEFAULT_CEILING, take);
                assert!((ASKED_FOR..100.0).contains(&score), "{kind:?} {sub_id}, take {take}: {score}");
                assert!((score - 80.0).abs() < 25.0, "{kind:?} {sub_id}, take {take}: {score}");
            }
            let (poor, good) = (average(&studio, &view, 20, 0), average(&studio, &view, DEFAULT_CEILING, 0));
            assert!(poor + 20.0 < good, "{kind:?} {sub_id}: {poor} at the start, then {good}");
        }
    }
}

#[test]
fn ten_fingers_of_a_slap_scanner_come_from_three_platens() {
    let studio = Studio::new(Kind::SlapFinger, Purpose::Auth, subject());
    let parts: Vec<BioSubType> =
        [&BioSubType::THUMBS[..], &BioSubType::RIGHT_SLAP, &BioSubType::LEFT_SLAP].concat();
    let view = View { sub_id: SubId(0), parts: parts.clone(), exceptions: vec![] };
    let look = Look { view: &view, scene: &Scene::default(), quality: 80, take: 1, wanted: None };
    let frame = studio.frame(&look, &|| false).unwrap().unwrap();
    assert!(frame.average().is_some());
    assert_eq!(frame.pieces().iter().map(|piece| piece.part.unwrap()).collect::<Vec<_>>(), parts);
    assert!(studio.frame(&Look { take: 2, ..look }, &|| true).unwrap().is_none(), "given up");
}

#[test]
fn a_frame_is_made_once_and_another_take_is_another_image() {
    let studio = Studio::new(Kind::SingleIris, Purpose::Auth, subject());
    let view = View::of_stream(Kind::SingleIris, SubId(0));
    let scene = Scene::default();
    let look = Look { view: &view, scene: &scene, quality: 80, take: 1, wanted: None };
    assert!(studio.kept_picture(&look).is_none());
    let frame = studio.frame(&look, &|| false).unwrap().unwrap();
    assert!(Arc::ptr_eq(&frame, &studio.frame(&look, &|| false).unwrap().unwrap()));
    assert!(studio.kept_picture(&look).is_some());
    let other = studio.frame(&Look { take: 2, ..look }, &|| false).unwrap().unwrap();
    assert_ne!(frame.pieces()[0].jp2().unwrap(), other.pieces()[0].jp2().unwrap());

    let gone = Scene { missing: BioSubType::EYES.into(), ..Scene::default() };
    let nothing = studio.frame(&Look { scene: &gone, ..look }, &|| false).unwrap().unwrap();
    assert!(nothing.average().is_none() && nothing.pieces().is_empty());
}
