//! The 116 compliance cases: who runs them, what is sent, what must come back, what the operator does meanwhile.

/// A combination that has a suite of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Project {
    /// Registration, slap scanner.
    RegFingerSlap,
    /// Registration, double iris.
    RegIrisDouble,
    /// Registration, face.
    RegFaceFull,
    /// Authentication, single finger.
    AuthFingerSingle,
    /// Authentication, single iris.
    AuthIrisSingle,
    /// Authentication, face.
    AuthFaceFull,
}

impl Project {
    /// All six.
    pub const ALL: [Self; 6] = [
        Self::RegFingerSlap,
        Self::RegIrisDouble,
        Self::RegFaceFull,
        Self::AuthFingerSingle,
        Self::AuthIrisSingle,
        Self::AuthFaceFull,
    ];

    /// "Registration" or "Auth".
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::RegFingerSlap | Self::RegIrisDouble | Self::RegFaceFull => "Registration",
            _ => "Auth",
        }
    }

    /// "Finger", "Iris" or "Face".
    #[must_use]
    pub const fn bio_type(self) -> &'static str {
        match self {
            Self::RegFingerSlap | Self::AuthFingerSingle => "Finger",
            Self::RegIrisDouble | Self::AuthIrisSingle => "Iris",
            Self::RegFaceFull | Self::AuthFaceFull => "Face",
        }
    }

    /// `deviceSubType` of its device.
    #[must_use]
    pub const fn sub_type(self) -> &'static str {
        match self {
            Self::RegFingerSlap => "Slap",
            Self::RegIrisDouble => "Double",
            Self::AuthFingerSingle | Self::AuthIrisSingle => "Single",
            Self::RegFaceFull | Self::AuthFaceFull => "Full face",
        }
    }

    /// Short name for tables.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::RegFingerSlap => "RFS",
            Self::RegIrisDouble => "RID",
            Self::RegFaceFull => "RFF",
            Self::AuthFingerSingle => "AFS",
            Self::AuthIrisSingle => "AIS",
            Self::AuthFaceFull => "AFF",
        }
    }

    /// The verb of its captures.
    #[must_use]
    pub fn verb(self) -> &'static str {
        if self.purpose() == "Registration" { "RCAPTURE" } else { "CAPTURE" }
    }
}

/// A validator of the tool kit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Validator {
    /// Schema of the answer.
    Schema,
    /// Signatures and trust.
    Signature,
    /// Count, purpose, parts and transaction id against the request.
    Mismatch,
    /// ISO 19794 record and image.
    Iso,
    /// Hash chain.
    Hash,
    /// Form and age of timestamps.
    Time,
    /// Not answered before the timeout.
    Timeout,
    /// Another device certificate after rotation.
    Key,
    /// What the quality SDK would stumble over.
    Quality,
}

/// What the answer must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expect {
    /// Discovery without error.
    Discovered,
    /// Discovery with an error in each entry.
    DiscoveryError,
    /// Device info of any state, without error.
    Info,
    /// Device info of a Ready device.
    InfoReady,
    /// Device info of a Busy device.
    InfoBusy,
    /// Device info of one that is Not Ready.
    InfoNotReady,
    /// Device info of one that is Not Registered.
    InfoNotRegistered,
    /// Registration capture.
    Registered,
    /// Authentication capture.
    Authenticated,
    /// A capture's error.
    CaptureError,
    /// A registration capture or an error.
    TransactionRegistration,
    /// An authentication capture or an error.
    TransactionAuth,
}

/// What the operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Puts finger, eyes or face in place.
    Present,
    /// Presents nothing.
    Absent,
    /// Makes the device busy.
    Busy,
    /// Makes it not ready.
    NotReady,
    /// Takes its registration away.
    NotRegistered,
    /// Rotates the device key between the two calls.
    Rotates,
}

/// A capture request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shot {
    /// `deviceSubId`.
    pub sub_id: &'static str,
    /// `count`.
    pub count: &'static str,
    /// `bioSubType`.
    pub parts: &'static [&'static str],
    /// `exception`.
    pub exception: &'static [&'static str],
    /// `requestedScore`.
    pub score: &'static str,
    /// `timeout`.
    pub timeout: &'static str,
    /// Instead of the generated `transactionId`.
    pub transaction_id: Option<&'static str>,
    /// Member whose name gets "XXX" appended.
    pub renamed: Option<&'static str>,
    /// Number of captures, chained by `previousHash`.
    pub times: u8,
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// MOSIPDISC, with the type in capitals when it is to be wrong.
    Discover {
        /// In capitals.
        wrong_type: bool,
    },
    /// MOSIPDINFO this many times.
    Info(u8),
    /// CAPTURE or RCAPTURE.
    Capture(Shot),
}

/// A compliance case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Number in its id.
    pub id: u16,
    /// `None`: every project.
    pub project: Option<Project>,
    /// What is called.
    pub call: Call,
    /// What must come back.
    pub expect: Expect,
    /// What judges it, in order.
    pub validators: &'static [Validator],
    /// What the operator does.
    pub operator: Operator,
}

impl Case {
    /// Whether a project's run has this case.
    #[must_use]
    pub fn is_for(&self, project: Project) -> bool {
        self.project.is_none_or(|own| own == project)
    }

    /// "SBI1002".
    #[must_use]
    pub fn name(&self) -> String {
        format!("SBI{}", self.id)
    }
}

const LI: &str = "Left IndexFinger";
const LM: &str = "Left MiddleFinger";
const LR: &str = "Left RingFinger";
const LL: &str = "Left LittleFinger";
const LT: &str = "Left Thumb";
const RI: &str = "Right IndexFinger";
const RM: &str = "Right MiddleFinger";
const RR: &str = "Right RingFinger";
const RL: &str = "Right LittleFinger";
const RT: &str = "Right Thumb";
const L: &str = "Left";
const R: &str = "Right";
const UNK: &str = "UNKNOWN";
const LEFT_SLAP: &[&str] = &[LI, LM, LR, LL];
const RIGHT_SLAP: &[&str] = &[RI, RM, RR, RL];
const THUMBS: &[&str] = &[RT, LT];
const EYES: &[&str] = &[L, R];
const TEN: &[&str] = &[LI, LM, LR, LL, LT, RI, RM, RR, RL, RT];

/// 51 characters, one more than allowed.
const TXN_51: &str = "SBI-0123456789-0123456789-0123456789-0123456789-012";
/// 62 characters.
const TXN_62: &str = "SBI-0123456789-0123456789-0123456789-0123456789-0123456789-012";
/// 64 characters.
const TXN_64: &str = "SBI-0123456789-0123456789-0123456789-0123456789-0123456789-01234";

const SCH: &[Validator] = &[Validator::Schema];
const SCH_SIG: &[Validator] = &[Validator::Schema, Validator::Signature];
const CAPTURE: &[Validator] = &[Validator::Schema, Validator::Mismatch, Validator::Signature];
const CAPTURE_ISO: &[Validator] =
    &[Validator::Schema, Validator::Mismatch, Validator::Signature, Validator::Iso];
const CAPTURE_QUAL: &[Validator] =
    &[Validator::Schema, Validator::Mismatch, Validator::Signature, Validator::Quality];
const CAPTURE_TIME: &[Validator] =
    &[Validator::Schema, Validator::Mismatch, Validator::Signature, Validator::Time];
const CAPTURE_HASH: &[Validator] =
    &[Validator::Schema, Validator::Mismatch, Validator::Signature, Validator::Hash];
const SCH_TMO: &[Validator] = &[Validator::Schema, Validator::Timeout];
const SCH_TMO_SIG: &[Validator] = &[Validator::Schema, Validator::Timeout, Validator::Signature];

/// A capture of `count` parts that must succeed.
const fn shot(
    id: u16,
    project: Project,
    sub_id: &'static str,
    count: &'static str,
    parts: &'static [&'static str],
) -> Case {
    let expect = match project {
        RFS | RID | RFF => Expect::Registered,
        _ => Expect::Authenticated,
    };
    let shot = Shot {
        sub_id,
        count,
        parts,
        exception: &[],
        score: "40",
        timeout: "10000",
        transaction_id: None,
        renamed: None,
        times: 1,
    };
    Case {
        id,
        project: Some(project),
        call: Call::Capture(shot),
        expect,
        validators: CAPTURE,
        operator: Operator::Present,
    }
}

const fn call(id: u16, project: Option<Project>, call: Call, expect: Expect) -> Case {
    Case { id, project, call, expect, validators: SCH, operator: Operator::Present }
}

impl Case {
    const fn shot(self) -> Shot {
        match self.call {
            Call::Capture(shot) => shot,
            _ => panic!("not a capture"),
        }
    }

    const fn with(self, shot: Shot) -> Self {
        Self { call: Call::Capture(shot), ..self }
    }

    const fn by(self, validators: &'static [Validator]) -> Self {
        Self { validators, ..self }
    }

    const fn operator(self, operator: Operator) -> Self {
        Self { operator, ..self }
    }

    const fn except(self, exception: &'static [&'static str]) -> Self {
        self.with(Shot { exception, ..self.shot() })
    }

    const fn score(self, score: &'static str) -> Self {
        self.with(Shot { score, ..self.shot() })
    }

    /// Must be refused with a capture error.
    const fn fails(self) -> Self {
        Self { expect: Expect::CaptureError, validators: SCH, ..self }
    }

    /// 500 ms, and nothing is presented.
    const fn nothing(self) -> Self {
        let case = self.fails().by(SCH_TMO).operator(Operator::Absent);
        case.with(Shot { timeout: "500", ..case.shot() })
    }

    /// A score that is never reached: the best frame at the deadline.
    const fn best(self) -> Self {
        self.score("100").by(SCH_TMO_SIG)
    }

    const fn renamed(self, member: &'static str) -> Self {
        let case = self.fails();
        case.with(Shot { renamed: Some(member), ..case.shot() })
    }

    const fn transaction(self, id: &'static str) -> Self {
        let expect = match self.expect {
            Expect::Registered => Expect::TransactionRegistration,
            _ => Expect::TransactionAuth,
        };
        let case = Self { expect, validators: SCH, ..self };
        case.with(Shot { transaction_id: Some(id), ..case.shot() })
    }

    const fn chained(self) -> Self {
        self.with(Shot { times: 3, ..self.shot() }).by(CAPTURE_HASH)
    }
}

const fn rotation(id: u16, project: Project) -> Case {
    call(id, Some(project), Call::Info(2), Expect::InfoReady)
        .by(&[Validator::Key])
        .operator(Operator::Rotates)
}

const RFS: Project = Project::RegFingerSlap;
const RID: Project = Project::RegIrisDouble;
const RFF: Project = Project::RegFaceFull;
const AFS: Project = Project::AuthFingerSingle;
const AIS: Project = Project::AuthIrisSingle;
const AFF: Project = Project::AuthFaceFull;

/// All of them, by id.
pub static CASES: [Case; 116] = [
    call(1000, None, Call::Discover { wrong_type: false }, Expect::Discovered).by(SCH_SIG),
    call(1001, None, Call::Info(1), Expect::Info).by(SCH_SIG),
    shot(1002, RFS, "1", "4", LEFT_SLAP),
    shot(1003, RFS, "1", "3", &[LI, LM, LL]).except(&[LR]),
    shot(1004, RFS, "2", "4", RIGHT_SLAP),
    shot(1005, RFS, "2", "2", &[RR, RL]).except(&[RI, RM]),
    shot(1006, RFS, "3", "2", THUMBS),
    shot(1007, RFS, "3", "1", &[RT]).except(&[LT]),
    shot(1008, RFS, "3", "0", &[]).except(&[RT, LT]).fails(),
    shot(1009, RID, "3", "2", EYES),
    shot(1010, RID, "3", "1", &[R]).except(&[L]),
    shot(1011, RID, "3", "0", &[]).except(&[L, R]).fails(),
    shot(1012, RFF, "0", "1", &[]),
    shot(1013, RFF, "0", "1", &[]).except(&[LL]).score("10").by(SCH_SIG),
    shot(1014, AFF, "0", "1", &[]),
    shot(1015, AIS, "0", "1", &[UNK]),
    shot(1016, AIS, "0", "1", &[L]),
    shot(1017, AIS, "0", "1", &[R]),
    shot(1018, AFS, "0", "1", &[UNK]),
    shot(1019, AFS, "0", "2", &[UNK, UNK]),
    shot(1020, AFS, "0", "1", &[LI]),
    shot(1021, AFS, "0", "2", &[LI, LM]),
    rotation(1022, RFS),
    rotation(1023, AIS),
    rotation(1024, AFS),
    rotation(1025, AFF),
    call(1026, None, Call::Info(1), Expect::InfoReady).by(SCH_SIG),
    call(1027, None, Call::Info(1), Expect::InfoBusy).operator(Operator::Busy),
    call(1028, None, Call::Info(1), Expect::InfoNotReady).operator(Operator::NotReady),
    call(1029, None, Call::Info(1), Expect::InfoNotRegistered).operator(Operator::NotRegistered),
    shot(1030, AFS, "0", "11", &[]).fails(),
    shot(1031, AIS, "0", "3", &[]).fails(),
    shot(1032, AFF, "0", "2", &[]).fails(),
    shot(1033, RFS, "1", "5", &[]).fails(),
    shot(1034, RFS, "2", "5", &[]).fails(),
    shot(1035, RFS, "3", "3", &[]).fails(),
    shot(1036, RID, "1", "2", &[]).fails(),
    shot(1037, RID, "2", "2", &[]).fails(),
    shot(1038, RID, "3", "3", &[]).fails(),
    shot(1039, RFF, "0", "2", &[]).fails(),
    shot(1040, RFF, "0", "1", &[]).nothing(),
    shot(1041, RID, "3", "2", EYES).nothing(),
    shot(1042, RFS, "1", "4", LEFT_SLAP).nothing(),
    shot(1043, RFS, "2", "4", RIGHT_SLAP).nothing(),
    shot(1044, RFS, "3", "2", THUMBS).nothing(),
    shot(1045, RFF, "0", "1", &[]).except(&[LL]).score("10").nothing(),
    shot(1046, AFF, "0", "1", &[]).nothing(),
    shot(1047, AIS, "0", "1", &[UNK]).nothing(),
    shot(1048, AFS, "0", "1", &[UNK]).nothing(),
    shot(1049, RFF, "0", "1", &[]).best(),
    shot(1050, RID, "3", "2", EYES).best(),
    shot(1051, RFS, "1", "4", LEFT_SLAP).best(),
    shot(1052, RFS, "2", "4", RIGHT_SLAP).best(),
    shot(1053, RFS, "3", "2", THUMBS).best(),
    shot(1054, RFF, "0", "1", &[]).except(&[LL]).best(),
    shot(1055, AFF, "0", "1", &[]).best(),
    shot(1056, AIS, "0", "1", &[UNK]).best(),
    shot(1057, AFS, "0", "1", &[UNK]).best(),
    shot(1058, AFS, "0", "10", TEN).score("100"),
    shot(1059, AIS, "0", "2", EYES).score("100"),
    rotation(1060, RFF),
    rotation(1061, RID),
    shot(1062, RFS, "1", "4", LEFT_SLAP).by(CAPTURE_ISO),
    shot(1063, RFS, "2", "4", RIGHT_SLAP).by(CAPTURE_ISO),
    shot(1064, RID, "3", "2", EYES).by(CAPTURE_ISO),
    shot(1065, RFF, "0", "1", &[]).by(CAPTURE_ISO),
    shot(1066, AFF, "0", "1", &[]).by(CAPTURE_ISO),
    shot(1067, AIS, "0", "1", &[L]).by(CAPTURE_ISO),
    shot(1068, AIS, "0", "1", &[R]).by(CAPTURE_ISO),
    shot(1069, AFS, "0", "1", &[UNK]).by(CAPTURE_ISO),
    shot(1070, RFS, "1", "4", LEFT_SLAP),
    shot(1071, RFS, "2", "4", RIGHT_SLAP),
    shot(1072, RFS, "3", "2", THUMBS),
    shot(1073, RID, "3", "2", EYES),
    shot(1074, RFF, "0", "1", &[]),
    shot(1075, RFS, "1", "4", LEFT_SLAP).by(CAPTURE_QUAL),
    shot(1076, RFS, "2", "4", RIGHT_SLAP).by(CAPTURE_QUAL),
    shot(1077, RID, "3", "2", EYES).by(CAPTURE_QUAL),
    shot(1078, RFF, "0", "1", &[]).by(CAPTURE_QUAL),
    shot(1079, AFF, "0", "1", &[]).by(CAPTURE_QUAL),
    shot(1080, AIS, "0", "1", &[L]).by(CAPTURE_QUAL),
    shot(1081, AIS, "0", "1", &[R]).by(CAPTURE_QUAL),
    shot(1082, AFS, "0", "1", &[UNK]).by(CAPTURE_QUAL),
    shot(1083, RFS, "1", "4", LEFT_SLAP).by(CAPTURE_TIME),
    shot(1084, RFS, "2", "4", RIGHT_SLAP).by(CAPTURE_TIME),
    shot(1085, RID, "3", "2", EYES).by(CAPTURE_TIME),
    shot(1086, RFF, "0", "1", &[]).by(CAPTURE_TIME),
    shot(1087, AFF, "0", "1", &[]).by(CAPTURE_TIME),
    shot(1088, AIS, "0", "1", &[L]).by(CAPTURE_TIME),
    shot(1089, AIS, "0", "1", &[R]).by(CAPTURE_TIME),
    shot(1090, AFS, "0", "1", &[UNK]).by(CAPTURE_TIME),
    shot(1091, AFF, "0", "1", &[]).transaction(TXN_62),
    shot(1092, AIS, "0", "1", &[L]).transaction(TXN_51),
    shot(1093, AFS, "0", "1", &[UNK]).transaction(TXN_64),
    shot(1094, RFS, "1", "4", LEFT_SLAP).renamed("env"),
    shot(1095, RFS, "2", "4", RIGHT_SLAP).renamed("timeout"),
    shot(1096, RFS, "3", "2", THUMBS).renamed("specVersion"),
    shot(1097, RID, "3", "2", EYES).renamed("purpose"),
    shot(1098, RFF, "0", "1", &[]).renamed("bio"),
    shot(1099, RID, "3", "1", &[R]).except(&[L]).renamed("bio[0].count"),
    shot(1100, RFF, "0", "1", &[]).except(&[LL]).score("10").renamed("bio[0].deviceSubId"),
    shot(1101, RFS, "1", "4", LEFT_SLAP).chained(),
    shot(1102, RFF, "0", "1", &[]).chained(),
    shot(1103, RFS, "2", "4", RIGHT_SLAP).chained(),
    shot(1104, RID, "3", "2", EYES).chained(),
    shot(1105, AFF, "0", "1", &[]).chained(),
    shot(1106, AIS, "0", "1", &[UNK]).chained(),
    shot(1107, AFS, "0", "1", &[UNK]).chained(),
    shot(1108, RFS, "1", "4", LEFT_SLAP).transaction(TXN_62),
    shot(1109, RFS, "2", "4", RIGHT_SLAP).transaction(TXN_62),
    shot(1110, RID, "3", "2", EYES).transaction(TXN_62),
    shot(1111, RFF, "0", "1", &[]).transaction(TXN_62),
    call(1196, None, Call::Discover { wrong_type: true }, Expect::DiscoveryError),
    shot(1197, RFS, "1", "4", &[]),
    shot(1198, RID, "3", "2", &[]),
    shot(1199, RFF, "0", "1", &[]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_runs_have_their_sizes() {
        assert!(CASES.windows(2).all(|pair| pair[0].id < pair[1].id));
        let sizes = Project::ALL.map(|project| CASES.iter().filter(|case| case.is_for(project)).count());
        assert_eq!(sizes, [41, 25, 24, 21, 23, 17]);
        assert_eq!([TXN_51.len(), TXN_62.len(), TXN_64.len()], [51, 62, 64]);
    }
}
