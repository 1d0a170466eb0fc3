//! What can go wrong, as users meet it: one table of SBI codes, texts in three languages, who can mend it, and how.
//!
//! Codes 100-112 are the interface's own (spec section 11); 5xx are ours, documented in docs/users/errors.md.

/// Who can do something about a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The person in front of the device.
    Operator,
    /// Whoever looks after this host.
    Technician,
    /// The maker of the device.
    DeviceProvider,
    /// The program that called us.
    ClientDeveloper,
}

/// Language of a text for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// French.
    Fr,
    /// Arabic.
    Ar,
}

/// One row of the table.
struct Row {
    code: u16,
    actor: Actor,
    en: &'static str,
    fr: &'static str,
    ar: &'static str,
    next: &'static str,
}

macro_rules! problems {
    ($($(#[$meta:meta])* $kind:ident = $code:literal, $actor:ident, $en:literal, $fr:literal, $ar:literal, $next:literal;)+) => {
        /// Kind of a problem: one SBI code each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProblemKind { $($(#[$meta])* $kind),+ }

        impl ProblemKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            const fn row(self) -> Row {
                match self {
                    $(Self::$kind => Row { code: $code, actor: Actor::$actor, en: $en, fr: $fr, ar: $ar, next: $next }),+
                }
            }
        }
    };
}

problems! {
    /// No certificate from its provider.
    NotRegistered = 100, Technician, "Device is not registered", "L'appareil n'est pas enregistr\u{e9}", "\u{627}\u{644}\u{62c}\u{647}\u{627}\u{632} \u{63a}\u{64a}\u{631} \u{645}\u{633}\u{62c}\u{644}",
        "Enrol the device with its provider's management server.";
    /// Nothing was presented until the deadline.
    NothingDetected = 101, Operator, "No biometric was detected. Place it on the device and try again", "Aucune donn\u{e9}e biom\u{e9}trique d\u{e9}tect\u{e9}e. Pr\u{e9}sentez-la et r\u{e9}essayez", "\u{644}\u{645} \u{64a}\u{62a}\u{645} \u{627}\u{643}\u{62a}\u{634}\u{627}\u{641} \u{623}\u{64a} \u{628}\u{635}\u{645}\u{629}. \u{636}\u{639}\u{647}\u{627} \u{639}\u{644}\u{649} \u{627}\u{644}\u{62c}\u{647}\u{627}\u{632} \u{648}\u{62d}\u{627}\u{648}\u{644} \u{645}\u{631}\u{629} \u{623}\u{62e}\u{631}\u{649}",
        "Place the finger, eye or face as shown in the preview and capture again.";
    /// The device failed during the capture.
    ExtractionFailed = 102, Technician, "Technical error during the capture", "Erreur technique pendant la capture", "\u{62e}\u{637}\u{623} \u{62a}\u{642}\u{646}\u{64a} \u{623}\u{62b}\u{646}\u{627}\u{621} \u{627}\u{644}\u{627}\u{644}\u{62a}\u{642}\u{627}\u{637}",
        "Capture again; if it stays, unplug the device, plug it in, and look into the log.";
    /// The device reports tampering.
    Tampered = 103, DeviceProvider, "Device tamper detected", "Une alt\u{e9}ration de l'appareil a \u{e9}t\u{e9} d\u{e9}tect\u{e9}e", "\u{62a}\u{645} \u{627}\u{643}\u{62a}\u{634}\u{627}\u{641} \u{639}\u{628}\u{62b} \u{628}\u{627}\u{644}\u{62c}\u{647}\u{627}\u{632}",
        "Take the device out of service and send it to its provider.";
    /// The provider's server cannot be reached.
    ManagementServerUnreachable = 104, Technician, "Management server cannot be reached", "Le serveur de gestion est injoignable", "\u{62a}\u{639}\u{630}\u{631} \u{627}\u{644}\u{648}\u{635}\u{648}\u{644} \u{625}\u{644}\u{649} \u{62e}\u{627}\u{62f}\u{645} \u{627}\u{644}\u{625}\u{62f}\u{627}\u{631}\u{629}",
        "Check the network of this host, then try again.";
    /// Wrong way up.
    WrongOrientation = 105, Operator, "Image orientation error", "Erreur d'orientation de l'image", "\u{62e}\u{637}\u{623} \u{641}\u{64a} \u{627}\u{62a}\u{62c}\u{627}\u{647} \u{627}\u{644}\u{635}\u{648}\u{631}\u{629}",
        "Turn the device or the hand the right way up and capture again.";
    /// No such device here.
    DeviceNotFound = 106, Technician, "Device not found", "Appareil introuvable", "\u{644}\u{645} \u{64a}\u{62a}\u{645} \u{627}\u{644}\u{639}\u{62b}\u{648}\u{631} \u{639}\u{644}\u{649} \u{627}\u{644}\u{62c}\u{647}\u{627}\u{632}",
        "Check cable and power, scan for devices again, and see `biotrust status`.";
    /// Its certificate is out of date.
    DeviceKeyExpired = 107, Technician, "The device's certificate has expired", "Le certificat de l'appareil a expir\u{e9}", "\u{627}\u{646}\u{62a}\u{647}\u{62a} \u{635}\u{644}\u{627}\u{62d}\u{64a}\u{629} \u{634}\u{647}\u{627}\u{62f}\u{629} \u{627}\u{644}\u{62c}\u{647}\u{627}\u{632}",
        "Connect the host to the management server so that the key is rotated; check the host's clock.";
    /// No certificate to encrypt for.
    EncryptionKeyMissing = 108, Technician, "The encryption certificate of the authentication server is missing", "Le certificat de chiffrement du serveur d'authentification est absent", "\u{634}\u{647}\u{627}\u{62f}\u{629} \u{62a}\u{634}\u{641}\u{64a}\u{631} \u{62e}\u{627}\u{62f}\u{645} \u{627}\u{644}\u{645}\u{635}\u{627}\u{62f}\u{642}\u{629} \u{645}\u{641}\u{642}\u{648}\u{62f}\u{629}",
        "Install the authentication server's certificate for this domainUri ([encryption] in the configuration).";
    /// More or fewer than the device has.
    CountNotSupported = 109, ClientDeveloper, "The requested number of fingers, eyes or faces is not supported", "Le nombre demand\u{e9} de doigts, d'yeux ou de visages n'est pas pris en charge", "\u{627}\u{644}\u{639}\u{62f}\u{62f} \u{627}\u{644}\u{645}\u{637}\u{644}\u{648}\u{628} \u{645}\u{646} \u{627}\u{644}\u{623}\u{635}\u{627}\u{628}\u{639} \u{623}\u{648} \u{627}\u{644}\u{639}\u{64a}\u{648}\u{646} \u{623}\u{648} \u{627}\u{644}\u{648}\u{62c}\u{648}\u{647} \u{63a}\u{64a}\u{631} \u{645}\u{62f}\u{639}\u{648}\u{645}",
        "Ask for as many as bioSubType, exception and deviceSubId allow.";
    /// Known but not usable now.
    NotReady = 110, Technician, "Device is not ready", "L'appareil n'est pas pr\u{ea}t", "\u{627}\u{644}\u{62c}\u{647}\u{627}\u{632} \u{63a}\u{64a}\u{631} \u{62c}\u{627}\u{647}\u{632}",
        "Check cable and power; `biotrust status` names the reason.";
    /// Somebody else holds it.
    Busy = 111, Operator, "Device is busy", "L'appareil est occup\u{e9}", "\u{627}\u{644}\u{62c}\u{647}\u{627}\u{632} \u{645}\u{634}\u{63a}\u{648}\u{644}",
        "Wait for the capture that is under way, then try again.";
    /// Not 4 to 50 letters, digits and hyphens.
    InvalidTransactionId = 112, ClientDeveloper, "Invalid transaction id", "Identifiant de transaction non valide", "\u{645}\u{639}\u{631}\u{641} \u{627}\u{644}\u{645}\u{639}\u{627}\u{645}\u{644}\u{629} \u{63a}\u{64a}\u{631} \u{635}\u{627}\u{644}\u{62d}",
        "Send 4 to 50 letters, digits or hyphens.";
    /// A fault of ours.
    Internal = 500, Technician, "Internal error of the device service", "Erreur interne du service d'appareils", "\u{62e}\u{637}\u{623} \u{62f}\u{627}\u{62e}\u{644}\u{64a} \u{641}\u{64a} \u{62e}\u{62f}\u{645}\u{629} \u{627}\u{644}\u{623}\u{62c}\u{647}\u{632}\u{629}",
        "Look into the log at the time of the error and report it.";
    /// The body is no JSON.
    MalformedRequest = 501, ClientDeveloper, "The request is not valid JSON", "La requ\u{ea}te n'est pas un JSON valide", "\u{627}\u{644}\u{637}\u{644}\u{628} \u{644}\u{64a}\u{633} JSON \u{635}\u{627}\u{644}\u{62d}\u{64b}\u{627}",
        "Send one JSON object in UTF-8, of 256 KiB at most.";
    /// A mandatory attribute is not there.
    AttributeMissing = 502, ClientDeveloper, "A mandatory attribute is missing", "Un attribut obligatoire est absent", "\u{633}\u{645}\u{629} \u{625}\u{644}\u{632}\u{627}\u{645}\u{64a}\u{629} \u{645}\u{641}\u{642}\u{648}\u{62f}\u{629}",
        "Send the attribute; nothing mandatory is defaulted.";
    /// An attribute has a value that cannot be.
    AttributeInvalid = 503, ClientDeveloper, "An attribute has an invalid value", "Un attribut a une valeur non valide", "\u{633}\u{645}\u{629} \u{644}\u{647}\u{627} \u{642}\u{64a}\u{645}\u{629} \u{63a}\u{64a}\u{631} \u{635}\u{627}\u{644}\u{62d}\u{629}",
        "Correct the attribute.";
    /// Another version of the interface.
    SpecVersionNotSupported = 504, ClientDeveloper, "The requested specVersion is not supported", "La specVersion demand\u{e9}e n'est pas prise en charge", "\u{625}\u{635}\u{62f}\u{627}\u{631} \u{627}\u{644}\u{645}\u{648}\u{627}\u{635}\u{641}\u{627}\u{62a} \u{627}\u{644}\u{645}\u{637}\u{644}\u{648}\u{628} \u{63a}\u{64a}\u{631} \u{645}\u{62f}\u{639}\u{648}\u{645}",
        "Ask for 0.9.5.";
    /// CAPTURE to a registration device or RCAPTURE to an authentication device.
    WrongPurpose = 505, ClientDeveloper, "The device is not meant for this purpose", "L'appareil n'est pas destin\u{e9} \u{e0} cet usage", "\u{627}\u{644}\u{62c}\u{647}\u{627}\u{632} \u{63a}\u{64a}\u{631} \u{645}\u{62e}\u{635}\u{635} \u{644}\u{647}\u{630}\u{627} \u{627}\u{644}\u{63a}\u{631}\u{636}",
        "Use a device whose purpose is the one of the request.";
    /// An L0 device asked for an authentication capture.
    LevelNotAllowed = 506, Technician, "Authentication needs a device of level L1", "L'authentification exige un appareil de niveau L1", "\u{62a}\u{62a}\u{637}\u{644}\u{628} \u{627}\u{644}\u{645}\u{635}\u{627}\u{62f}\u{642}\u{629} \u{62c}\u{647}\u{627}\u{632}\u{64b}\u{627} \u{645}\u{646} \u{627}\u{644}\u{645}\u{633}\u{62a}\u{648}\u{649} L1",
        "Use an L1 device, or allow L0 for tests ([sbi] allow_l0_auth).";
    /// Over 50 pairs in customOpts.
    TooManyCustomOpts = 507, ClientDeveloper, "customOpts has more than 50 entries", "customOpts contient plus de 50 entr\u{e9}es", "\u{64a}\u{62d}\u{62a}\u{648}\u{64a} customOpts \u{639}\u{644}\u{649} \u{623}\u{643}\u{62b}\u{631} \u{645}\u{646} 50 \u{625}\u{62f}\u{62e}\u{627}\u{644}\u{64b}\u{627}",
        "Send 50 pairs at most.";
    /// The device's certificates or answers did not stand up to appraisal.
    DeviceRefused = 508, DeviceProvider, "The device is not trusted", "L'appareil n'est pas digne de confiance", "\u{627}\u{644}\u{62c}\u{647}\u{627}\u{632} \u{63a}\u{64a}\u{631} \u{645}\u{648}\u{62b}\u{648}\u{642} \u{628}\u{647}",
        "`biotrust status` names the check that failed.";
    /// The capture was called off.
    Cancelled = 509, Operator, "The capture was cancelled", "La capture a \u{e9}t\u{e9} annul\u{e9}e", "\u{62a}\u{645} \u{625}\u{644}\u{63a}\u{627}\u{621} \u{627}\u{644}\u{627}\u{644}\u{62a}\u{642}\u{627}\u{637}",
        "Capture again.";
    /// The service is going down.
    ShuttingDown = 510, Technician, "The device service is stopping", "Le service d'appareils s'arr\u{ea}te", "\u{62e}\u{62f}\u{645}\u{629} \u{627}\u{644}\u{623}\u{62c}\u{647}\u{632}\u{629} \u{642}\u{64a}\u{62f} \u{627}\u{644}\u{625}\u{64a}\u{642}\u{627}\u{641}",
        "Start biotrustd again.";
    /// Too many live previews of one device.
    TooManyStreams = 511, ClientDeveloper, "Too many live previews of this device are open", "Trop d'aper\u{e7}us en direct de cet appareil sont ouverts", "\u{647}\u{646}\u{627}\u{643} \u{639}\u{62f}\u{62f} \u{643}\u{628}\u{64a}\u{631} \u{62c}\u{62f}\u{64b}\u{627} \u{645}\u{646} \u{627}\u{644}\u{645}\u{639}\u{627}\u{64a}\u{646}\u{627}\u{62a} \u{627}\u{644}\u{645}\u{628}\u{627}\u{634}\u{631}\u{629} \u{627}\u{644}\u{645}\u{641}\u{62a}\u{648}\u{62d}\u{629}",
        "Close a preview first.";
    /// A web page or a host name that is not on the list.
    OriginNotAllowed = 512, Technician, "This web page may not use the devices of this host", "Cette page web ne peut pas utiliser les appareils de cet h\u{f4}te", "\u{644}\u{627} \u{64a}\u{62c}\u{648}\u{632} \u{644}\u{635}\u{641}\u{62d}\u{629} \u{627}\u{644}\u{648}\u{64a}\u{628} \u{647}\u{630}\u{647} \u{627}\u{633}\u{62a}\u{62e}\u{62f}\u{627}\u{645} \u{623}\u{62c}\u{647}\u{632}\u{629} \u{647}\u{630}\u{627} \u{627}\u{644}\u{645}\u{636}\u{64a}\u{641}",
        "Add the origin to [origins] in the configuration if the page is yours.";
    /// No such verb or path.
    NoSuchOperation = 513, ClientDeveloper, "No such operation", "Op\u{e9}ration inexistante", "\u{644}\u{627} \u{62a}\u{648}\u{62c}\u{62f} \u{639}\u{645}\u{644}\u{64a}\u{629} \u{643}\u{647}\u{630}\u{647}",
        "Use MOSIPDISC /device, MOSIPDINFO /info, CAPTURE or RCAPTURE /capture, STREAM /stream.";
    /// Every connection that the service takes is in use.
    TooManyConnections = 514, Technician, "Too many connections to the device service", "Trop de connexions au service d'appareils", "\u{639}\u{62f}\u{62f} \u{627}\u{644}\u{627}\u{62a}\u{635}\u{627}\u{644}\u{627}\u{62a} \u{628}\u{62e}\u{62f}\u{645}\u{629} \u{627}\u{644}\u{623}\u{62c}\u{647}\u{632}\u{629} \u{643}\u{628}\u{64a}\u{631} \u{62c}\u{62f}\u{64b}\u{627}",
        "Close programs that keep connections open, or raise `connections` in [limits].";
    /// The certificate to encrypt for is out of date.
    EncryptionKeyExpired = 515, Technician, "The encryption certificate of the authentication server is out of date", "Le certificat de chiffrement du serveur d'authentification n'est pas en cours de validit\u{e9}", "\u{634}\u{647}\u{627}\u{62f}\u{629} \u{62a}\u{634}\u{641}\u{64a}\u{631} \u{62e}\u{627}\u{62f}\u{645} \u{627}\u{644}\u{645}\u{635}\u{627}\u{62f}\u{642}\u{629} \u{63a}\u{64a}\u{631} \u{633}\u{627}\u{631}\u{64a}\u{629}",
        "Put the authentication server's new certificate in place ([encryption] in the configuration), or see why it was not fetched; check the host's clock.";
}

impl ProblemKind {
    /// SBI error code.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.row().code
    }

    /// Who can mend it.
    #[must_use]
    pub const fn actor(self) -> Actor {
        self.row().actor
    }

    /// One sentence for the person in front of the screen.
    #[must_use]
    pub const fn text(self, language: Language) -> &'static str {
        match language {
            Language::En => self.row().en,
            Language::Fr => self.row().fr,
            Language::Ar => self.row().ar,
        }
    }

    /// What to do next (English; for status and log).
    #[must_use]
    pub const fn next_step(self) -> &'static str {
        self.row().next
    }
}

/// A problem with, where it helps, its subject: the attribute, the device, the failed check.
///
/// The subject must never hold a key, a token or biometric data: it is shown on screens and in logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Kind.
    pub kind: ProblemKind,
    /// What it is about.
    pub subject: Option<String>,
}

impl Problem {
    /// A problem with a subject.
    #[must_use]
    pub fn about(kind: ProblemKind, subject: impl Into<String>) -> Self {
        Self { kind, subject: Some(subject.into()) }
    }

    /// SBI error code.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.kind.code()
    }

    /// The sentence, with its subject after a colon.
    #[must_use]
    pub fn text(&self, language: Language) -> String {
        match &self.subject {
            Some(subject) => format!("{}: {subject}", self.kind.text(language)),
            None => self.kind.text(language).to_owned(),
        }
    }
}

impl From<ProblemKind> for Problem {
    fn from(kind: ProblemKind) -> Self {
        Self { kind, subject: None }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (error {})", self.text(Language::En), self.code())
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_range() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in ProblemKind::ALL {
            assert!(seen.insert(kind.code()), "{kind:?} repeats a code");
            assert!((100..=112).contains(&kind.code()) || (500..600).contains(&kind.code()), "{kind:?}");
        }
        assert!((100..=112).all(|code| seen.contains(&code)), "the interface's own codes are complete");
    }

    #[test]
    fn every_language_has_a_text_of_its_own() {
        for kind in ProblemKind::ALL {
            let [en, fr, ar] = [Language::En, Language::Fr, Language::Ar].map(|l| kind.text(l));
            assert!(en != fr && fr != ar && !ar.is_empty() && en != "Success", "{kind:?}");
            assert!(ar.chars().any(|c| ('\u{600}'..'\u{700}').contains(&c)), "{kind:?} has no Arabic text");
            assert!(!kind.next_step().is_empty());
        }
    }
}
