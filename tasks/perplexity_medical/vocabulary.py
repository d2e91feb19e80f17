"""Names of the generator: operations with organ, tissue and diagnoses, and what surgeons use.

Each list has three parts. `train` stands in every split; `validation` and `test` stand in that
split alone, so that a low perplexity there is not memory. No name of a later part contains, or is
contained in, a name of another part. Knows nothing of sentences.
"""

from __future__ import annotations

from typing import NamedTuple

Names = tuple[str, ...]


class Operation(NamedTuple):
    """An operation and what belongs to it.

    Attributes:
        name: of the operation.
        organ: what is operated on.
        tissue: what is met on the way.
        diagnoses: one of which is the reason.
    """

    name: str
    organ: str
    tissue: str
    diagnoses: Names


def _names(table: str) -> Names:
    """Names apart by semicolons."""
    return tuple(" ".join(name.split()) for name in table.split(";") if name.strip())


def _operations(table: str) -> tuple[Operation, ...]:
    """Lines of `name = organ; tissue; diagnosis; diagnosis; ...`."""
    found = []
    for row in filter(str.strip, table.splitlines()):
        name, _, rest = row.partition("=")
        organ, tissue, *diagnoses = _names(rest)
        found.append(Operation(name.strip(), organ, tissue, tuple(diagnoses)))
    return tuple(found)


#: Families of operations that are done in the same steps.
OPERATIONS: dict[str, dict[str, tuple[Operation, ...]]] = {
    "open": {
        "train": _operations("""
            open appendectomy = appendix; mesoappendix; perforated appendicitis; appendix abscess
            sigmoid colectomy = sigmoid; mesocolon; sigmoid volvulus; diverticular abscess
            small bowel resection = ileum; mesentery; bowel obstruction; dead ileum; ileal tumor
            open splenectomy = spleen; splenic hilum; ruptured spleen; splenic cyst
            partial gastrectomy = stomach; omentum; bleeding gastric ulcer; gastric outlet block
            ventral hernia repair = hernia sac; scar tissue; incisional hernia; stuck hernia
            open nephrectomy = kidney; renal pedicle; renal mass; kidney trauma
            total hysterectomy = uterus; broad ligament; uterine fibroids; heavy menses
        """),
        "validation": _operations("""
            Hartmann procedure = rectum; rectal stalk; rectal perforation; rectal stricture
            liver wedge resection = liver edge; portal branch; liver metastasis; hydatid disease
            open cystectomy = detrusor; urachus; urothelial tumor; urachal remnant
        """),
        "test": _operations("""
            Whipple procedure = pancreatic head; duodenum; pancreatic head mass; ampullary tumor
            ileostomy closure = stoma loop; stoma rim; loop ileostomy; stoma prolapse
            open myomectomy = myoma; myometrium; submucous myoma; infertility
            choledochal incision = common duct; choledochus; choledochal stones; cholangitis
        """),
    },
    "keyhole": {
        "train": _operations("""
            lap appendectomy = appendix; mesoappendix; acute appendicitis; appendix mass
            lap cholecystectomy = gallbladder; cystic duct; biliary colic; acute cholecystitis
            lap inguinal repair = hernia sac; cord; inguinal hernia; recurrent hernia
            lap oophorectomy = ovary; infundibular ligament; ovarian cyst; ovarian torsion
            lap fundoplication = hiatus; short gastrics; hiatal hernia; reflux
            lap splenectomy = spleen; splenic hilum; splenic cyst; low platelets
            lap sigmoidectomy = sigmoid; mesocolon; sigmoid mass; chronic diverticulitis
        """),
        "validation": _operations("""
            lap adrenalectomy = adrenal; adrenal vein; adrenal adenoma; pheochromocytoma
            lap gastric sleeve = greater curve; gastrocolic fat; BMI over 45; metabolic disease
            lap cystopexy = vault; sacral band; vault prolapse; pelvic laxity
        """),
        "test": _operations("""
            lap salpingectomy = salpinx; mesosalpinx; ectopic pregnancy; hydrosalpinx
            lap Heller myotomy = esophagus; phrenic fat; achalasia; dysphagia
            lap Meckel excision = Meckel pouch; antimesenteric fat; Meckel bleed; mucocele
            lap varicocele ligation = pampiniform plexus; gonadal vein; varicocele; testicular ache
        """),
    },
    "bone": {
        "train": _operations("""
            ORIF ankle = fibula; peroneal fascia; ankle fracture; open ankle fracture
            ORIF wrist = distal radius; flexor sheath; radius fracture; failed cast
            ORIF tibia = tibial plateau; iliotibial band; plateau fracture; tibial nonunion
            femoral nailing = femur; gluteal fascia; femur fracture; femoral malunion
            ORIF humerus = humerus; deltoid; humerus fracture; shaft nonunion
            ORIF elbow = olecranon; triceps; olecranon fracture; elbow dislocation
            ORIF hip = femoral neck; vastus; neck fracture; hip fracture
        """),
        "validation": _operations("""
            ORIF clavicle = clavicle; platysma; clavicle fracture; tented clavicle
            ORIF heel = calcaneus; sural fat; calcaneus fracture; crushed heel
            ORIF finger = phalanx; extensor hood; phalanx fracture; mallet finger
        """),
        "test": _operations("""
            ORIF patella = patella; retinaculum; patella fracture; extensor gap
            ORIF acetabulum = acetabulum; rectus origin; acetabulum fracture; socket fracture
            ORIF hand = metacarpal; dorsal fascia; metacarpal fracture; boxer injury
            ORIF midfoot = navicular; plantar band; Lisfranc injury; navicular fracture
        """),
    },
    "joint": {
        "train": _operations("""
            knee arthroscopy = meniscus; synovium; meniscal tear; locked knee
            shoulder arthroscopy = rotator cuff; bursa; cuff tear; frozen shoulder
            ankle arthroscopy = talar dome; synovial fold; talar lesion; ankle impingement
            hip arthroscopy = labrum; hip capsule; labral tear; hip impingement
            ACL reconstruction = anterior cruciate; notch; cruciate tear; knee laxity
            elbow arthroscopy = coronoid; elbow capsule; loose bodies; elbow contracture
        """),
        "validation": _operations("""
            wrist arthroscopy = fibrocartilage; carpal row; TFCC tear; carpal laxity
            Bankart repair = glenoid rim; subscapularis; anterior dislocation; glenoid avulsion
        """),
        "test": _operations("""
            PCL reconstruction = posterior cruciate; popliteal recess; PCL rupture; posterior sag
            biceps tenodesis = biceps anchor; bicipital groove; SLAP tear; biceps tendinosis
            trochlear grooving = trochlea; suprapatellar gutter; maltracking; chondral flap
        """),
    },
    "vessel": {
        "train": _operations("""
            femoral endarterectomy = femoral artery; femoral sheath; leg ischemia; rest pain
            carotid endarterectomy = carotid; jugular branch; carotid stenosis; recent stroke
            femoral bypass = popliteal artery; saphenous vein; foot gangrene; claudication
            AV fistula = cephalic vein; radial artery; renal failure; failed catheter
            aortic graft = aorta; iliac origin; aortic aneurysm; leaking aneurysm
            vein stripping = long saphenous; groin branches; varicose veins; leg ulcer
        """),
        "validation": _operations("""
            brachial embolectomy = brachial artery; bicipital sheath; arm embolus; cold hand
            ostial stenting = renal ostium; suprarenal cuff; renovascular pressure; ostial plaque
        """),
        "test": _operations("""
            subclavian bypass = subclavian; scalene muscle; arm steal; subclavian occlusion
            tibial angioplasty = peroneal trunk; calf septum; toe necrosis; tibial occlusion
            mesenteric revision = celiac trunk; arcuate ligament; gut angina; celiac compression
        """),
    },
    "scope": {
        "train": _operations("""
            colonoscopy = cecum; left colon; rectal bleeding; polyp screening; iron loss
            gastroscopy = antrum; gastric body; black stool; epigastric pain
            bronchoscopy = right bronchus; carina; lung collapse; bloody sputum
            cystoscopy = bladder; trigone; blood in urine; bladder mass
            ERCP = papilla; bile duct; duct stone; yellow skin
            ureteroscopy = ureter; renal pelvis; ureteric stone; flank colic
        """),
        "validation": _operations("""
            enteroscopy = jejunum; proximal loop; occult blood loss; jejunal ooze
            laryngoscopy = vocal folds; arytenoids; hoarse voice; vocal nodule
        """),
        "test": _operations("""
            hysteroscopy = endometrium; cornua; postmenopausal spotting; endometrial polyp
            sinoscopy = ethmoid; middle meatus; nasal polyposis; ostiomeatal block
            thoracoscopy = pleura; costal angle; empyema; pleural nodules
        """),
    },
    "skin": {
        "train": _operations("""
            melanoma excision = scar; deep fascia; melanoma; atypical nevus
            lipoma excision = lipoma; capsule; painful lipoma; growing lump
            skin grafting = wound bed; donor site; deep burn; open wound
            abscess drainage = cavity; loculations; gluteal abscess; infected cyst
            breast lumpectomy = breast mass; breast tissue; ductal cancer; breast lump
            pilonidal excision = sinus; sacral fascia; pilonidal sinus; pilonidal abscess
        """),
        "validation": _operations("""
            keloid revision = keloid; fibrous shelf; lobed keloid; ear keloid
            toe amputation = gangrenous toe; plantar flap; toe osteomyelitis; wet gangrene
        """),
        "test": _operations("""
            node dissection = axillary nodes; clavipectoral fascia; nodal disease; lymph spread
            flap rotation = scalp defect; galea; scalp carcinoma; radiation sore
            ganglion excision = ganglion; joint stalk; dorsal ganglion; recurrent ganglion
        """),
    },
}

#: What stands in the other slots, by slot.
LISTS: dict[str, dict[str, Names]] = {
    "suture": {
        "train": _names("""
            0 Vicryl; 2-0 Vicryl; 3-0 Vicryl; 2-0 silk; 3-0 silk; 1 PDS; 2-0 PDS; 4-0 Prolene;
            5-0 Prolene; 3-0 nylon; 4-0 nylon; 2-0 catgut
        """),
        "validation": _names("3-0 chromic; 0 Ethibond; 4-0 Biosyn"),
        "test": _names("4-0 Monocryl; 2-0 Maxon; 0 Stratafix; 3-0 Dexon"),
    },
    "skin": {
        "train": _names("staples; glue; clips; tape; a running stitch; nylon; single stitches"),
        "validation": _names("mattress stitches; Dermabond"),
        "test": _names("subcuticular thread; Steri-Strips; barbed thread"),
    },
    "drug": {
        "train": _names("""
            cefazolin 2 g; cefazolin 1 g; vancomycin 1 g; clindamycin 600 mg; cefoxitin 2 g;
            gentamicin 240 mg; metronidazole 500 mg; ampicillin 2 g
        """),
        "validation": _names("cefuroxime 1.5 g; aztreonam 2 g; ertapenem 1 g"),
        "test": _names("teicoplanin 400 mg; cefotetan 2 g; piperacillin 4 g; amikacin 750 mg"),
    },
    "anesthesia": {
        "train": _names("""
            general, ETT; general, LMA; spinal; epidural; local; local and sedation; nerve block;
            TIVA
        """),
        "validation": _names("caudal; Bier; ketamine drip"),
        "test": _names("scalene infusion; tumescent; propofol target; femoral and sciatic"),
    },
    "position": {
        "train": _names("""
            supine; prone; left lateral; right lateral; lithotomy; head down; beach chair;
            arms tucked
        """),
        "validation": _names("frog leg; jackknife"),
        "test": _names("knees flexed; sitting up; reverse tilt"),
    },
    "state": {
        "train": _names("""
            inflamed; swollen; torn; stuck; thick; dusky; soft; bleeding; hard; pale; enlarged;
            thin; necrotic; scarred
        """),
        "validation": _names("friable; gelatinous; fibrotic; twisted"),
        "test": _names("edematous; calcified; nodular; hyperemic; macerated"),
    },
    "tool": {
        "train": _names("""
            cautery; scissors; a clamp; a blade; blunt spread; a hook; a swab; a shaver; LigaSure;
            a stapler
        """),
        "validation": _names("bipolar tips; a rongeur; a ring curette"),
        "test": _names("a Harmonic; peanut sponges; a Cobb; an argon beam"),
    },
    "incision": {
        "train": _names("""
            midline; transverse; oblique; curved; vertical; lateral; medial; lower; upper;
            paramedian; straight
        """),
        "validation": _names("Lanz; zigzag; chevron"),
        "test": _names("Pfannenstiel; Kocher; bayonet; elliptic"),
    },
    "implant": {
        "train": _names("""
            plate; locking plate; hook plate; nail; mini plate; wire; lag plate; bridge plate
        """),
        "validation": _names("Steinmann pin; rush pin"),
        "test": _names("buttress; cable; cage"),
    },
    "splint": {
        "train": _names("splint; cast; brace; sling; boot; soft wrap"),
        "validation": _names("gutter slab; abduction cushion"),
        "test": _names("cam walker; cuff harness; spica"),
    },
    "drain": {
        "train": _names("drain; suction drain; tube; wick; gauze pack; catheter"),
        "validation": _names("Redon; sump"),
        "test": _names("Blake; Penrose; pigtail"),
    },
    "ward": {
        "train": _names("PACU; the ward; ICU; day unit; recovery; step down; bed 4; bed 12"),
        "validation": _names("HDU; burn bay"),
        "test": _names("telemetry; the flap room; bed 31"),
    },
    "fluid": {
        "train": _names("saline; warm saline; water; Ringer; iodine wash; dilute iodine"),
        "validation": _names("bacitracin wash; glycine"),
        "test": _names("chlorhexidine; peroxide; mannitol"),
    },
    "graft": {
        "train": _names("vein patch; vein graft; PTFE graft; Dacron patch; stent; balloon"),
        "validation": _names("bovine patch; covered cuff"),
        "test": _names("cadaver segment; Viabahn; spliced conduit"),
    },
}

#: Numbers: lowest, highest and step.
NUMBERS: dict[str, tuple[int, int, int]] = {
    "cm": (2, 18, 1), "mm": (2, 30, 1), "volume": (100, 3000, 100), "gas": (10, 15, 1),
    "loss": (5, 600, 5), "minutes": (12, 95, 1), "ports": (3, 6, 1), "holes": (4, 12, 1),
    "screws": (2, 9, 1), "weeks": (2, 8, 1), "cuff": (220, 300, 10), "units": (2000, 8000, 500),
    "hour": (7, 19, 1), "depth": (12, 60, 1), "days": (2, 14, 1),
    "minute": (10, 59, 1), "degrees": (60, 150, 5),
}  # fmt: skip
