"""Every real word that the pretraining corpus takes from a list.

All clinical names of the corpus are here: a benchmark with entities that the base model has never
seen needs to avoid these three lists.
"""


def _words(block: str) -> tuple[str, ...]:
    """The words of a block of text."""
    return tuple(block.split())


#: Names of drugs that the corpus uses; all other drug names in it are invented.
MEDICATIONS: tuple[str, ...] = (
    "rivaroxaban",
    "lamotrigine",
    "vancomycin",
    "sertraline",
    "metformin",
    "oxycodone",
    "pantoprazole",
    "prednisone",
    "montelukast",
    "empagliflozin",
    "acetaminophen",
    "tamsulosin",
    "morphine",
    "gabapentin",
    "levetiracetam",
    "carvedilol",
    "digoxin",
    "lisinopril",
    "methotrexate",
    "hydrochlorothiazide",
    "escitalopram",
    "clopidogrel",
    "semaglutide",
    "ciprofloxacin",
    "amoxicillin",
    "omeprazole",
    "atorvastatin",
    "warfarin",
    "heparin",
    "glipizide",
    "bupropion",
    "allopurinol",
    "losartan",
    "spironolactone",
    "metoprolol",
    "amlodipine",
    "hydroxychloroquine",
    "tramadol",
    "furosemide",
    "citalopram",
)

#: Names of illnesses that the corpus uses.
CONDITIONS: tuple[str, ...] = (
    "sleep apnea",
    "osteoarthritis",
    "cirrhosis",
    "cellulitis",
    "neuropathy",
    "type 2 diabetes",
    "urinary tract infection",
    "GERD",
    "pancreatitis",
    "pneumonia",
    "glaucoma",
    "stroke",
    "rheumatoid arthritis",
    "coronary artery disease",
    "pulmonary embolism",
    "COPD",
    "anemia",
    "hypertension",
    "epilepsy",
    "anxiety",
    "obesity",
    "migraine",
    "psoriasis",
    "hyperlipidemia",
    "atrial fibrillation",
    "osteoporosis",
    "hypothyroidism",
    "sepsis",
)

#: Names of examinations and operations that the corpus uses.
PROCEDURES: tuple[str, ...] = (
    "hemodialysis",
    "CT scan of the abdomen",
    "mammogram",
    "knee arthroscopy",
    "MRI of the brain",
    "lumbar puncture",
    "colonoscopy",
    "coronary artery bypass grafting",
    "cholecystectomy",
    "bronchoscopy",
    "tonsillectomy",
    "upper endoscopy",
    "hip replacement",
    "skin biopsy",
    "coronary angiography",
    "appendectomy",
    "hysterectomy",
    "thyroidectomy",
    "chest X-ray",
    "cardiac catheterization",
)

#: Parts of the body, and what can be wrong with them or done to them.
BODY: tuple[str, ...] = _words("""
    heart kidney lung liver knee hip shoulder skin brain bone blood eye ear stomach bowel bladder
    spine ankle wrist elbow throat nose jaw tooth muscle nerve vein artery chest neck back hand
    foot arm leg finger toe gland joint rib gut colon spleen breast tongue scalp face belly womb
    renal cardiac hepatic pulmonary gastric spinal nasal dental ocular vascular
""")
ILL: tuple[str, ...] = _words("""
    disease failure infection pain stiffness injury inflammation swelling ulcer tumor cyst
    weakness cramps stones spasm tear fracture abscess stenosis insufficiency bleeding numbness
    cancer rash edema disorder deformity
""")
EXAMINED: tuple[str, ...] = _words("""
    repair removal biopsy scan replacement drainage bypass ultrasound imaging surgery resection
    transplant injection reconstruction angiography fusion lavage stenting excision graft endoscopy
""")

#: What is never made of them: left to benchmarks, which need names that the model has not met.
UNMADE: frozenset[str] = frozenset(
    {
        "artery bypass",
        "artery disease",
        "bowel resection",
        "breast cancer",
        "breast ultrasound",
        "colon cancer",
        "foot ulcer",
        "gastric bypass",
        "gastric lavage",
        "heart failure",
        "heart transplant",
        "hip fracture",
        "hip replacement",
        "kidney disease",
        "kidney injury",
        "kidney stones",
        "knee replacement",
        "liver biopsy",
        "liver disease",
        "liver transplant",
        "lung cancer",
        "pulmonary edema",
        "renal ultrasound",
        "skin biopsy",
        "spinal fusion",
        "spinal stenosis",
        "wrist fracture",
    }
)


def body_terms(nouns: tuple[str, ...]) -> tuple[str, ...]:
    """Each part of the body with each noun, such as `elbow biopsy`, but what is never made."""
    terms = (f"{part} {noun}" for part in BODY for noun in nouns)
    return tuple(term for term in terms if term not in UNMADE)


#: Everyday words, mixed with invented ones.
COMMON: tuple[str, ...] = _words("""
    time year people way day man thing woman life child world school state family student group
    country problem hand part place case week company system program question work government
    number night point home water room mother area money story fact month lot right study book eye
    job word business issue side kind head house service friend father power hour game line end
    member law car city community name president team minute idea body information back parent
    face others level office door health person art war history party result change morning reason
    research girl guy moment air teacher force education red blue green small large old new early
    late open closed cold warm dark light heavy quick slow soft hard clean empty full north south
    east west upper lower left central main second final first major minor severe stable active
    simple double internal external primary river stone garden window paper silver copper table
    engine bridge market apple lemon bread sugar cotton glass wheel tower forest
""")

#: Units of everyday quantities.
UNITS: tuple[str, ...] = _words("""
    kg g ml l cm m tons boxes bags cups units mg mcg miles crates litres pieces dollars euros
    percent
""")

#: Month names, in calendar order.
MONTHS: tuple[str, ...] = _words("""
    January February March April May June July August September October November December
""")

#: Weekday names.
WEEKDAYS: tuple[str, ...] = _words("""
    Monday Tuesday Wednesday Thursday Friday Saturday Sunday
""")

#: What an invented syllable begins with.
ONSETS: tuple[str, ...] = _words("""
    b c d f g h j k l m n p r s t v w z br cr dr fl gl gr kl pl pr sk sl st tr th ch sh qu y x
""")

#: What stands in its middle; the frequent ones twice.
VOWELS: tuple[str, ...] = _words("""
    a e i o u a e i o ai ea io ou y ee
""")

#: What it may end with.
CODAS: tuple[str, ...] = _words("""
    n r s l m t x nd ck st rm ph ng b d
""")

#: What an invented word may end with.
SUFFIXES: tuple[str, ...] = _words("""
    mab pril statin olol azole mycin sartan itis osis emia pathy ectomy scopy plasty graphy ine
    ide ate one ium ton ville ford berg son ski man ella ora ica
""")
