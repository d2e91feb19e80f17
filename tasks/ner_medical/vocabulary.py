"""Names of the generator: real drugs with usual single doses, conditions and procedures.

Each list has three parts. `train` stands in every split; `validation` and `test` stand in that
split alone, so that finding them measures extraction and not memory. No name of a later part
contains, or is contained in, a name of another part. Knows nothing of sentences.
"""

from __future__ import annotations

Names = tuple[str, ...]
Doses = dict[str, tuple[str, ...]]


def _names(table: str) -> Names:
    """Names apart by semicolons."""
    return tuple(" ".join(name.split()) for name in table.split(";") if name.strip())


def _doses(table: str) -> Doses:
    """Lines of `name = dose, dose`, several apart by semicolons; a bare number is milligrams."""
    found: Doses = {}
    for entry in _names(table.replace("\n", ";")):
        name, _, doses = entry.partition("=")
        each = tuple(dose.strip() for dose in doses.split(","))
        found[name.strip()] = tuple(
            dose if dose.upper() != dose.lower() else f"{dose} mg" for dose in each
        )
    return found


MEDICATIONS: dict[str, Doses] = {
    "train": _doses("""
        rivaroxaban = 10, 15, 20; lamotrigine = 25, 100, 200; vancomycin = 1 g, 1.25 g, 125
        sertraline = 25, 50, 100; metformin = 500, 850, 1000; oxycodone = 5, 10
        pantoprazole = 20, 40; prednisone = 5, 10, 20, 40; montelukast = 4, 10
        empagliflozin = 10, 25; acetaminophen = 325, 500, 650, 1 g; tamsulosin = 0.4, 0.8
        morphine = 2, 4, 15; gabapentin = 100, 300, 600; levetiracetam = 500, 750, 1000
        carvedilol = 3.125, 6.25, 12.5, 25; digoxin = 0.125, 0.25, 125 mcg
        lisinopril = 5, 10, 20, 40; methotrexate = 7.5, 15, 20
        hydrochlorothiazide = 12.5, 25; escitalopram = 5, 10, 20; clopidogrel = 75, 300
        semaglutide = 0.25, 0.5, 1; ciprofloxacin = 250, 400, 500; amoxicillin = 500, 875, 1 g
        omeprazole = 20, 40; atorvastatin = 10, 20, 40, 80; warfarin = 2.5, 5, 7.5
        heparin = 5000 units, 80 units/kg; glipizide = 5, 10; bupropion = 150, 300
        allopurinol = 100, 300; losartan = 25, 50, 100; spironolactone = 25, 50
        metoprolol = 25, 50, 100; amlodipine = 2.5, 5, 10; hydroxychloroquine = 200, 400
        tramadol = 50, 100; furosemide = 20, 40, 80; citalopram = 10, 20, 40
        ramipril = 2.5, 5, 10; simvastatin = 10, 20, 40; ezetimibe = 10; diltiazem = 120, 240
        torsemide = 10, 20; telmisartan = 40, 80; esomeprazole = 20, 40; famotidine = 20, 40
        ondansetron = 4, 8; loperamide = 2, 4; infliximab = 5 mg/kg, 400; colchicine = 0.6
        naproxen = 250, 500; celecoxib = 100, 200; baclofen = 5, 10; topiramate = 25, 50, 100
        carbamazepine = 200, 400; venlafaxine = 75, 150; desvenlafaxine = 50, 100
        fluoxetine = 10, 20, 40; mirtazapine = 15, 30; quetiapine = 25, 100, 300
        risperidone = 0.5, 1, 2; clonazepam = 0.5, 1; zolpidem = 5, 10; tiotropium = 18 mcg
        fluticasone = 110 mcg, 220 mcg; budesonide = 180 mcg, 9; sitagliptin = 50, 100
        pioglitazone = 15, 30; dulaglutide = 0.75, 1.5; cefepime = 1 g, 2 g; linezolid = 600
        nitrofurantoin = 50, 100; acyclovir = 400, 800; valacyclovir = 500, 1 g
        tenofovir = 300; ticagrelor = 90; enoxaparin = 40, 80, 1 mg/kg; alendronate = 10, 70
        finasteride = 1, 5; oxybutynin = 5, 10; Lantus = 10 units, 18 units, 24 units
        Humalog = 4 units, 6 units, 8 units; Tylenol = 500, 650; Plavix = 75; Lasix = 20, 40
        ipratropium = 0.5, 17 mcg; nitroglycerin = 0.4; potassium chloride = 10 mEq, 20 mEq
        folic acid = 1, 5; ferrous sulfate = 325; hydralazine = 10, 25, 50
        levofloxacin = 500, 750; clindamycin = 300, 600; cephalexin = 250, 500
        metronidazole = 250, 500; haloperidol = 2, 5; hydroxyzine = 10, 25
        lactulose = 15 mL, 30 mL; benzonatate = 100, 200; donepezil = 5, 10
        methimazole = 5, 10; rituximab = 375 mg/m2, 1000; tacrolimus = 0.5, 1
    """),
    "validation": _doses("""
        valsartan = 40, 80, 160; bisoprolol = 2.5, 5, 10; pravastatin = 20, 40
        verapamil = 80, 120, 240; bumetanide = 0.5, 1, 2; enalapril = 2.5, 5, 10
        ranitidine = 75, 150; mesalamine = 800, 1.2 g; adalimumab = 40, 80; febuxostat = 40, 80
        diclofenac = 50, 75; cyclobenzaprine = 5, 10; valproate = 250, 500
        pregabalin = 50, 75, 150
        paroxetine = 10, 20; trazodone = 50, 100; olanzapine = 5, 10; lorazepam = 0.5, 1
        linagliptin = 5; liraglutide = 0.6, 1.2, 1.8; meropenem = 500, 1 g; fluconazole = 100, 200
        dabigatran = 110, 150; raloxifene = 60; sildenafil = 25, 50; Synthroid = 50 mcg, 88 mcg
        Eliquis = 2.5, 5; Zosyn = 3.375 g, 4.5 g; cetirizine = 5, 10; doxazosin = 1, 2, 4
        ketorolac = 10, 15, 30; rifampin = 300, 600; sumatriptan = 50, 100; memantine = 5, 10
        mycophenolate = 500, 1 g; letrozole = 2.5; buspirone = 5, 10, 15; isoniazid = 100, 300
        dexamethasone = 4, 6, 8; terbinafine = 250; Toradol = 15, 30; Keflex = 250, 500
    """),
    "test": _doses("""
        levothyroxine = 25 mcg, 75 mcg, 112 mcg; albuterol = 90 mcg, 2.5; apixaban = 2.5, 5
        duloxetine = 30, 60; azithromycin = 250, 500; doxycycline = 50, 100; ceftriaxone = 1 g, 2 g
        rosuvastatin = 5, 10, 20; ibuprofen = 400, 600, 800; insulin glargine = 12 units, 20 units
        insulin lispro = 3 units, 5 units, 7 units; fenofibrate = 54, 145; nifedipine = 30, 60
        chlorthalidone = 12.5, 25; candesartan = 4, 8, 16; metoclopramide = 5, 10
        etanercept = 25, 50; meloxicam = 7.5, 15; tizanidine = 2, 4; aripiprazole = 2, 5, 10
        lithium carbonate = 300, 450; theophylline = 200, 300; dapagliflozin = 5, 10
        salmeterol = 50 mcg; ertapenem = 1 g; oseltamivir = 30, 75; amiodarone = 200, 400
        flecainide = 50, 100; sotalol = 80, 120; labetalol = 100, 200; propranolol = 10, 20, 40
        clonidine = 0.1, 0.2; minoxidil = 2.5, 5; prazosin = 1, 2; phenytoin = 100, 300
        lacosamide = 50, 100; ropinirole = 0.25, 1; pramipexole = 0.125, 0.5; selegiline = 5
        tamoxifen = 10, 20; anastrozole = 1; imatinib = 100, 400; azathioprine = 50, 100
        leflunomide = 10, 20; tofacitinib = 5; denosumab = 60; zoledronic acid = 4, 5
        calcitriol = 0.25 mcg, 0.5 mcg; methadone = 5, 10; buprenorphine = 2, 8; naltrexone = 50
        hydromorphone = 0.5, 1, 2; fentanyl = 12 mcg, 25 mcg, 50 mcg; ketamine = 20, 30
        ceftazidime = 1 g, 2 g; micafungin = 50, 100; Augmentin = 500, 875; Bactrim = 400, 800
        Zofran = 4, 8; Advair = 100 mcg, 250 mcg; Xarelto = 15, 20; Januvia = 25, 50
    """),
}

CONDITIONS: dict[str, Names] = {
    "train": _names("""
        sleep apnea; osteoarthritis; cirrhosis; cellulitis; neuropathy; type 2 diabetes;
        urinary tract infection; GERD; pancreatitis; pneumonia; glaucoma; stroke;
        rheumatoid arthritis; coronary artery disease; pulmonary embolism; COPD; anemia;
        hypertension; epilepsy; anxiety; obesity; migraine; psoriasis; hyperlipidemia;
        atrial fibrillation; osteoporosis; hypothyroidism; sepsis; iron deficiency anemia;
        pulmonary hypertension; peripheral neuropathy; diabetic neuropathy; aspiration pneumonia;
        type 1 diabetes; bradycardia; syncope; vertigo; otitis media; acute bronchitis;
        pleural effusion; tuberculosis; gastritis; hepatitis C; hepatitis B; gallstones;
        ulcerative colitis; hemorrhoids; inguinal hernia; hiatal hernia; kidney stones;
        prostatitis; endometriosis; atopic eczema; shingles; fibromyalgia; sciatica;
        rotator cuff tear; Parkinson's disease; dementia; insomnia; bipolar disorder;
        alcohol withdrawal; hyperkalemia; hypokalemia; thrombocytopenia; acute leukemia;
        breast cancer; prostate cancer; aortic stenosis; mitral regurgitation;
        dilated cardiomyopathy; pericarditis; peripheral artery disease; corneal abrasion;
        venous insufficiency; varicose veins; unstable angina; myocardial infarction; lung cancer;
        hip fracture; wrist fracture; ankle sprain; concussion; Bell's palsy; Graves' disease;
        hyperthyroidism; thyroid nodule; vitamin D deficiency; dehydration; lactic acidosis;
        hepatic encephalopathy; esophageal varices; Barrett's esophagus; small bowel obstruction;
        Clostridioides difficile infection; influenza; COVID-19; HIV infection; oral thrush;
        diabetic foot ulcer; pressure ulcer; acne vulgaris; contact dermatitis;
        basal cell carcinoma; erectile dysfunction; ovarian cyst; uterine fibroids; preeclampsia;
        gestational diabetes; neurogenic bladder; overactive bladder; major depressive disorder;
        panic disorder; ADHD; schizophrenia; tension headache; carpal tunnel syndrome;
        restless legs syndrome
    """),
    "validation": _names("""
        supraventricular tachycardia; tinnitus; chronic sinusitis; pulmonary fibrosis;
        peptic ulcer disease; celiac disease; pyelonephritis; vitiligo; scoliosis; tendinitis;
        multiple sclerosis; delirium; hyponatremia; lymphoma; colon cancer;
        infective endocarditis; macular degeneration; deep vein thrombosis; plantar fasciitis;
        Addison's disease; appendicitis; cholecystitis; sarcoidosis; bronchiectasis;
        Raynaud phenomenon; polycystic kidney disease; nephrotic syndrome;
        Guillain-Barre syndrome; trigeminal neuralgia; myasthenia gravis;
        vertebral compression fracture; frozen shoulder; adjustment disorder; OCD; rosacea;
        tinea pedis; impetigo; bacterial vaginosis; ectopic pregnancy; hydronephrosis;
        lactose intolerance; eosinophilic esophagitis; Wilson's disease; hemophilia A;
        neutropenia; pancytopenia; croup; febrile seizure; conjunctivitis; retinal detachment;
        PTSD
    """),
    "test": _names("""
        heart failure; asthma; depression; gout; chronic kidney disease; diverticulitis;
        angina pectoris; hepatocellular carcinoma; Crohn's disease; lupus nephritis; bursitis;
        generalized tonic-clonic seizures; hypercalcemia; melanoma; lung nodule; atrial flutter;
        complete heart block; aortic dissection; abdominal aortic aneurysm; acute kidney injury;
        cystic fibrosis; pneumothorax; empyema; obstructive uropathy;
        benign prostatic hyperplasia; irritable bowel syndrome; acute cholangitis;
        fatty liver disease; hemochromatosis; achalasia; gastroparesis; ischemic colitis;
        Cushing syndrome; acromegaly; diabetes insipidus; hyperparathyroidism;
        polycystic ovary syndrome; Huntington's disease; Alzheimer's disease;
        amyotrophic lateral sclerosis; essential tremor; subdural hematoma; meningitis;
        spinal stenosis; degenerative disc disease; ankylosing spondylitis;
        polymyalgia rheumatica; giant cell arteritis; Sjogren's syndrome; septic joint;
        osteomyelitis; plaque morphea; hidradenitis suppurativa; pemphigus; alopecia areata;
        squamous cell skin lesion; Lyme disease; malaria; infectious mononucleosis; syphilis;
        gonorrhea; pelvic inflammatory disease; placenta previa; hyperemesis gravidarum;
        sickle cell crisis; von Willebrand disease; polycythemia vera; multiple myeloma;
        anorexia nervosa; borderline personality disorder; autism spectrum disorder; uveitis;
        Meniere's disease; sensorineural hearing loss; allergic rhinitis; pulmonary edema
    """),
}

PROCEDURES: dict[str, Names] = {
    "train": _names("""
        hemodialysis; CT scan of the abdomen; mammogram; knee arthroscopy; MRI of the brain;
        lumbar puncture; colonoscopy; coronary artery bypass grafting; cholecystectomy;
        bronchoscopy; tonsillectomy; upper endoscopy; hip replacement; skin biopsy;
        coronary angiography; appendectomy; hysterectomy; thyroidectomy; chest X-ray;
        cardiac catheterization; laparoscopy; hernia repair; mastectomy; prostatectomy;
        splenectomy; liver biopsy; bone marrow biopsy; renal ultrasound; carotid Doppler;
        exercise stress test; pulmonary function tests; sleep study; EEG; nerve conduction study;
        PET scan; cystoscopy; paracentesis; chest tube placement; tracheostomy;
        central line placement; electrical cardioversion; aortic valve replacement;
        coronary stent placement; knee replacement; carpal tunnel release; laminectomy;
        epidural steroid injection; wound debridement; below-knee amputation; cesarean section;
        colposcopy; sigmoidoscopy; feeding tube placement; CT scan of the head;
        CT angiography of the chest; MRI of the lumbar spine; X-ray of the left wrist;
        abdominal ultrasound; transthoracic echocardiography; 12-lead ECG; physical therapy;
        chemotherapy; kidney transplantation; bowel resection; lymph node biopsy;
        dental extraction; joint aspiration; allergy testing; tympanoplasty; septoplasty;
        vitrectomy; gastric sleeve surgery; plasma exchange; shoulder X-ray; ureteral stenting;
        femoral nailing; breast ultrasound
    """),
    "validation": _names("""
        laparotomy; lumpectomy; nephrectomy; Roux-en-Y gastric bypass; pelvic ultrasound;
        Holter monitoring; electromyography; bone density scan; lithotripsy; thoracentesis;
        endotracheal intubation; catheter ablation; rotator cuff repair; vertebroplasty;
        scar revision; dilation and curettage; barium swallow; MRI of the cervical spine;
        CT scan of the sinuses; cataract extraction; ERCP; tubal ligation;
        arteriovenous fistula creation; bunionectomy; vasectomy; hearing test;
        thyroid uptake scan; transesophageal echo; pericardiocentesis; laser photocoagulation;
        radiation therapy; ICD implantation
    """),
    "test": _names("""
        echocardiogram; cataract surgery; pacemaker implantation; spinal fusion;
        carotid endarterectomy; spirometry; ureteroscopy; blood transfusion;
        aortic aneurysm repair; gastric lavage; MRI of the right knee; CT scan of the neck;
        MR cholangiography; X-ray of the right foot; duplex ultrasound of the legs;
        tilt table test; myocardial perfusion imaging; capsule endoscopy; esophageal manometry;
        hemicolectomy; hemorrhoidectomy; colostomy reversal; pancreaticoduodenectomy; lobectomy;
        mediastinoscopy; craniotomy; ventriculoperitoneal shunt placement; deep brain stimulation;
        microdiscectomy; open reduction and internal fixation; ACL reconstruction; meniscectomy;
        percutaneous nephrolithotomy; TURP; orchiectomy; oophorectomy; endometrial ablation;
        amniocentesis; Pap smear; sentinel node mapping; salpingectomy; adrenalectomy;
        stem cell transplant; peritoneal dialysis; liver transplant; heart transplant;
        Mohs surgery; cryotherapy; patch testing; fundoscopy; trabeculectomy; audiometry;
        myringotomy; cochlear implantation; sinus surgery; fasciotomy; embolectomy; cardiac MRI
    """),
}
