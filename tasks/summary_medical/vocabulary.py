"""Names of the generator: body parts, symptoms, illnesses, drugs with doses, tests, clinics.

Each list has three parts. `train` stands in every split; `validation` and `test` stand in that
split alone, so that writing them down measures copying from the talk and not memory. No name of a
later part contains, or is contained in, a name of another part. Knows nothing of sentences.
"""

from __future__ import annotations

Names = tuple[str, ...]
Doses = dict[str, tuple[str, ...]]


def _names(table: str) -> Names:
    """Names apart by semicolons."""
    return tuple(" ".join(name.split()) for name in table.split(";") if name.strip())


def _doses(table: str) -> Doses:
    """Entries of `name = dose, dose`, apart by semicolons or lines; doses are milligrams."""
    found: Doses = {}
    for entry in _names(table.replace("\n", ";")):
        name, _, doses = entry.partition("=")
        found[name.strip()] = tuple(f"{dose.strip()} mg" for dose in doses.split(","))
    return found


#: Parts of the body that come in pairs.
PAIRED: dict[str, Names] = {
    "train": _names("""
        knee; hip; shoulder; elbow; wrist; ankle; foot; hand; arm; leg; ear; eye; heel; jaw;
        big toe; breast; index finger; lower rib; hamstring; forearm
    """),
    "validation": _names("shin; thumb; thigh; eyelid; buttock; armpit; kneecap tendon"),
    "test": _names("calf; groin; temple; cheek; collar bone; flank; palm; nostril; brow; instep"),
}

#: Parts of the body that everybody has one of.
SINGLE: dict[str, Names] = {
    "train": _names("neck; back; stomach; chest; throat; nose; scalp; belly; tongue; tailbone"),
    "validation": _names("windpipe; upper lip; pelvis"),
    "test": _names("forehead; navel; chin; breastplate; gum line"),
}

#: What a patient has, as the patient says it; `a` and `an` are left out of the note.
SYMPTOMS: dict[str, Names] = {
    "train": _names("""
        a cough; a dry cough; headaches; dizzy spells; chest tightness; heartburn; diarrhea;
        a sore throat; a runny nose; poor sleep; leg cramps; nosebleeds; an itchy rash;
        a skin lump; loud snoring; back spasms; low mood; ringing ears; dry eyes; night cramps;
        a mouth ulcer; a stiff jaw; hair loss; acid reflux; short breath; bad breath; hot flashes;
        a racing heart; a dull toothache; an upset stomach; blurred vision; a blocked nose;
        weak legs; shaky hands
    """),
    "validation": _names("""
        a hoarse voice; wheezing; panic attacks; a boil; double sight; bruising; fainting;
        frequent urination; a swollen gland; brittle nails; an oozing blister; dark urine
    """),
    "test": _names("""
        hiccups; palpitations; constipation; a wart; a limp; bloating; tremor; muscle twitching;
        blood in the stool; a scaly patch; clumsy fingers; belching; trouble swallowing;
        painful periods; excess thirst; a nail infection; cracked heels; jaundice;
    """),
}

#: What the doctor asks for beside the complaint.
SIGNS: dict[str, Names] = {
    "train": _names("""
        fever; nausea; vomiting; weight loss; a rash; swelling of the legs; pus; bleeding; fatigue;
        sweats; weakness; loss of appetite; tears; a bad taste; giddiness; redness; ear pain;
        itching; cloudy urine; phlegm
    """),
    "validation": _names("chills; shivering; thick mucus; confusion; hearing loss; a metal taste"),
    "test": _names("""
        drowsiness; light sensitivity; pins and needles; stool changes; mouth dryness; malaise;
        foul smell; night terrors
    """),
}

#: What a patient has had for long.
HISTORY: dict[str, Names] = {
    "train": _names("""
        gout; asthma; diabetes; hypertension; migraine; anemia; epilepsy; glaucoma; psoriasis;
        osteoarthritis; anxiety; obesity; COPD; GERD; hypothyroidism; sleep apnea; osteoporosis;
        atrial fibrillation; kidney stones; neuropathy; eczema; sciatica; cirrhosis; insomnia;
        heart failure; gastritis; hepatitis C; shingles; fibromyalgia; type 2 diabetes; stroke;
        iron deficiency; angina; a heart murmur; hay fever; depression; bipolar disorder;
        prostatitis; rheumatoid arthritis; varicose veins
    """),
    "validation": _names("""
        celiac disease; bronchiectasis; lupus; endometriosis; rosacea; pericarditis; dementia;
        cluster headache; spinal stenosis; a pacemaker; hemophilia; narcolepsy; gallstones;
        thalassemia
    """),
    "test": _names("""
        multiple sclerosis; Crohn's disease; sarcoidosis; vitiligo; diverticulosis; scoliosis;
        pulmonary edema; aortic stenosis; myasthenia gravis; hyperparathyroidism; emphysema;
        kidney disease; cystic fibrosis; alopecia; polycystic ovaries; trigeminal neuralgia;
        hemochromatosis; colon cancer; Raynaud's; vertigo
    """),
}

DRUGS: dict[str, Doses] = {
    "train": _doses("""
        sertraline = 25, 50, 100; metformin = 500, 850, 1000; oxycodone = 5, 10
        pantoprazole = 20, 40; prednisone = 5, 10, 20; montelukast = 4, 10
        acetaminophen = 325, 500, 650; tamsulosin = 0.4, 0.8; gabapentin = 100, 300, 600
        levetiracetam = 500, 750; carvedilol = 6.25, 12.5, 25; lisinopril = 5, 10, 20
        methotrexate = 7.5, 15; escitalopram = 5, 10, 20; clopidogrel = 75, 300
        ciprofloxacin = 250, 500; amoxicillin = 250, 500; omeprazole = 20, 40
        atorvastatin = 10, 20, 40; warfarin = 2.5, 5; bupropion = 150, 300
        allopurinol = 100, 300; losartan = 25, 50, 100; spironolactone = 25, 50
        metoprolol = 25, 50, 100; amlodipine = 2.5, 5, 10; hydroxychloroquine = 200, 400
        tramadol = 50, 100; furosemide = 20, 40, 80; citalopram = 10, 20, 40
        simvastatin = 10, 20, 40; diltiazem = 120, 240; famotidine = 20, 40; ondansetron = 4, 8
        loperamide = 2, 4; colchicine = 0.6, 1.2; naproxen = 250, 500; celecoxib = 100, 200
        baclofen = 5, 10; topiramate = 25, 50; carbamazepine = 200, 400; venlafaxine = 75, 150
        fluoxetine = 10, 20, 40; mirtazapine = 15, 30; quetiapine = 25, 100; zolpidem = 5, 10
        sitagliptin = 50, 100; linezolid = 300, 600; nitrofurantoin = 50, 100
        acyclovir = 400, 800; finasteride = 1, 5; clindamycin = 150, 300; cephalexin = 250, 500
        metronidazole = 250, 500; hydroxyzine = 10, 25; benzonatate = 100, 200
        methimazole = 5, 10; aspirin = 81, 325; penicillin = 250, 500; codeine = 15, 30
    """),
    "validation": _doses("""
        valsartan = 40, 80, 160; bisoprolol = 2.5, 5, 10; pravastatin = 20, 40
        verapamil = 80, 120, 240; enalapril = 2.5, 5, 10; ranitidine = 75, 150
        febuxostat = 40, 80; diclofenac = 50, 75; cyclobenzaprine = 5, 10; pregabalin = 50, 75
        paroxetine = 10, 20; trazodone = 50, 100; olanzapine = 5, 10; lorazepam = 0.5, 1
        fluconazole = 100, 200; cetirizine = 5, 10; doxazosin = 1, 2, 4; sumatriptan = 50, 100
        letrozole = 2.5, 5; buspirone = 5, 10; terbinafine = 125, 250; Keflex = 250, 500
    """),
    "test": _doses("""
        apixaban = 2.5, 5; duloxetine = 30, 60; azithromycin = 250, 500; doxycycline = 50, 100
        rosuvastatin = 5, 10, 20; ibuprofen = 400, 600, 800; fenofibrate = 54, 145
        nifedipine = 30, 60; chlorthalidone = 12.5, 25; candesartan = 4, 8, 16
        metoclopramide = 5, 10; meloxicam = 7.5, 15; tizanidine = 2, 4; aripiprazole = 2, 5
        theophylline = 200, 300; dapagliflozin = 5, 10; amiodarone = 200, 400; sotalol = 80, 120
        labetalol = 100, 200; propranolol = 10, 20, 40; clonidine = 0.1, 0.2; prazosin = 1, 2
        phenytoin = 100, 300; ropinirole = 0.25, 1; tamoxifen = 10, 20; azathioprine = 50, 100
        leflunomide = 10, 20; methadone = 5, 10; Augmentin = 500, 875; Bactrim = 400, 800
        loratadine = 5, 10; griseofulvin = 250, 500
    """),
}

#: What is done to find out more; `a` and `an` are left out of the note.
TESTS: dict[str, Names] = {
    "train": _names("""
        a chest X-ray; an ECG; a blood count; a urine test; a skin biopsy; an MRI scan; a CT scan;
        a throat swab; a colonoscopy; a stress test; a thyroid test; a hearing test; a sleep study;
        a mammogram; a sugar test; a bone scan; a lung test; a stool test; an eye exam;
        an upper endoscopy; blood cultures; an ultrasound of the belly; a liver panel
    """),
    "validation": _names("""
        spirometry; an iron level; a Doppler scan; a tilt table; patch tests; cystoscopy;
        an allergy panel; a nerve study
    """),
    "test": _names("""
        an echocardiogram; a Holter; a uric acid level; a bladder diary; audiometry; a Pap smear;
        a gait check; a lipid profile; a barium swallow; a joint tap; a fundus photo
    """),
}

#: To whom a patient is sent.
CLINICS: dict[str, Names] = {
    "train": _names("""
        surgery; the eye clinic; cardiology; the pain team; physical therapy; a dentist;
        the foot clinic; the chest clinic; a speech coach; the skin clinic; the ear clinic;
        the spine team; the heart team
    """),
    "validation": _names("neurology; a podiatrist; the memory unit; oncology; a midwife"),
    "test": _names("""
        urology; rheumatology; a psychologist; the hernia list; the gut service; a dietitian;
        hematology
    """),
}

#: When it is worse.
WORSE: dict[str, Names] = {
    "train": _names("""
        at night; after meals; on stairs; in the morning; in the cold; at work; when walking;
        when sitting; after coffee; in bed; with stress; after sport; when reading; after bread
    """),
    "validation": _names("when bending; in the shower; after alcohol; with noise; at dusk"),
    "test": _names("""
        when lifting; after spicy food; in the sun; with perfume; when kneeling; on weekends;
        with milk
    """),
}

#: What makes it better.
BETTER: dict[str, Names] = {
    "train": _names("""
        rest; ice; heat; warm tea; a nap; a bath; deep breaths; fresh air; a pillow; short walks;
        a massage; sleep; cold water
    """),
    "validation": _names("stretching; honey; elevation; a firm mattress"),
    "test": _names("compression; yoga; lozenges; a splint; quiet music; ginger"),
}

#: Invented surnames; none stands in a note.
SURNAMES: dict[str, Names] = {
    "train": _names("""
        Torv; Vale; Lund; Marsh; Okar; Senn; Doyle; Brandt; Hale; Pruitt; Kerr; Novik; Ames; Tully;
        Rask; Weld; Corin; Fenn; Ibsen; Jory; Stell; Quade; Mott; Yarrow
    """),
    "validation": _names("Ostrel; Havik; Dunmore; Pellan; Wix; Carrow; Sorley; Bexin"),
    "test": _names("Tamsin; Grolle; Eddery; Vosk; Lanning; Arden; Kolb; Merrow; Sixt; Humber"),
}

#: What a part of the body does, has done, and what the note calls it.
DOES = (
    ("hurts", "has hurt", "pain"), ("is swollen", "has been swollen", "swelling"),
    ("is stiff", "has been stiff", "stiffness"), ("feels numb", "has felt numb", "numbness"),
    ("itches", "has itched", "itching"), ("is red", "has been red", "redness"),
    ("feels weak", "has felt weak", "weakness"), ("burns", "has burned", "burning"),
    ("tingles", "has tingled", "tingling"), ("throbs", "has throbbed", "throbbing"),
)  # fmt: skip
#: Days and times of the year since when.
SINCE = (
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "Easter", "May",
    "June", "August", "winter", "spring", "New Year",
)  # fmt: skip
#: Units of spans of time.
UNITS = ("days", "weeks", "months")
#: Titles, and what the note says for them.
TITLES = (("Mr.", "man"), ("Mrs.", "woman"), ("Ms.", "woman"))
