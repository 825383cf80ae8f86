/** Texts that a user may choose and that a file system may take for something else, or for one another. No two of them are equal. */

const long = (text: string, bytes: number): string => text.repeat(Math.floor(bytes / Buffer.byteLength(text)))

const pathlike = [
  ".",
  "..",
  "...",
  "./a",
  "../a",
  "../../../../../../tmp/a",
  "/",
  "/etc/passwd",
  "a/b",
  "a/../b",
  "a//b",
  "\\",
  "a\\b",
  "..\\..\\a",
  "\\\\server\\share",
  "\\\\?\\C:\\a",
  "C:",
  "C:\\a",
  "%2e%2e%2f",
  "%2f",
  "%",
  "^",
  "^a",
  "~",
  "~root",
  "a~1",
  "$HOME",
  "*",
  "?",
  "\"",
  "<",
  ">",
  "|",
  "-rf",
  "--",
  "a:b",
  "a::$DATA",
  "a:b:$INDEX_ALLOCATION",
  "a.json",
  "a.json.tmp",
  ".hidden",
  "__proto__",
  "constructor",
  "store.json",
  "ledger"
]

const devices = [
  "con",
  "CON",
  "con.txt",
  "con .txt",
  "prn",
  "nul",
  "NUL.txt",
  "nul.a.b",
  "aux",
  "AUX.",
  "com1",
  "COM1.log",
  "com\u00b9",
  "lpt9",
  "LPT\u00b3.txt",
  "conin$",
  "CONOUT$",
  "clock$"
]

const edges = ["a", "a.", "a..", "a ", "a. ", " a", ". a", " ", "  ", "a\u00a0", "\u00a0"]

const controls = ["\0", "a\0b", "\u0001", "\t", "\n", "\r\n", "\u001b[2J", "\u007f", "\u0085", "\u009b"]

const cases = [
  "A",
  "i",
  "I",
  "\u0130",
  "\u0131",
  "ss",
  "SS",
  "sS",
  "\u00df",
  "\u1e9e",
  "k",
  "K",
  "\u212a",
  "s",
  "S",
  "\u017f",
  "\u03c3",
  "\u03c2",
  "\u03a3",
  "\u01c4",
  "\u01c5",
  "\u01c6",
  "maths 1",
  "Maths 1",
  "MATHS 1"
]

const forms = [
  "\u00e9",
  "e\u0301",
  "\u00c9",
  "E\u0301",
  "\u00e5",
  "a\u030a",
  "\u00c5",
  "A\u030a",
  "\u212b",
  "\ufb01",
  "fi",
  "FI",
  "\ud55c",
  "\u1112\u1161\u11ab",
  "\u30cf",
  "\uff8a",
  "1",
  "\u2460",
  "\uff11",
  "q\u0307\u0323",
  "q\u0323\u0307",
  "\u200b",
  "a\u200b",
  "a\u200d",
  "\ufeff",
  "a\ufeff",
  "\u202ea",
  "\ufffd",
  "\u{1f600}",
  "\u{1f468}\u200d\u{1f469}\u200d\u{1f467}",
  "\u{1f1e9}\u{1f1ea}",
  "\u2764",
  "\u2764\ufe0f"
]

const longs = [300, 1024].flatMap((bytes) => [
  long("x", bytes),
  long("X", bytes),
  `${long("x", bytes - 1)}y`,
  `${long("x", bytes - 1)}Y`,
  `${long("x", bytes - 1)}.`,
  `${long("x", bytes - 1)} `,
  `${long("x", bytes - 1)}/`,
  `y${long("x", bytes - 1)}`,
  long("\u00e9", bytes),
  long("e\u0301", bytes),
  long("\u{1f600}", bytes),
  long("/", bytes),
  long(".", bytes),
  long("../", bytes),
  long(" ", bytes),
  long("\0", bytes),
  `con.${long("x", bytes - 4)}`,
  `CON.${long("x", bytes - 4)}`
])

export const nastyNames: ReadonlyArray<string> = [
  ...new Set([...pathlike, ...devices, ...edges, ...controls, ...cases, ...forms, ...longs])
]

/** What file systems that take names for one another may make of them before they compare. */
export const foldings: Readonly<Record<string, (name: string) => string>> = {
  "as it is": (name) => name,
  "small letters, composed": (name) => name.normalize("NFC").toLowerCase(),
  "small letters, decomposed": (name) => name.normalize("NFD").toLowerCase(),
  "small letters, compatible": (name) => name.normalize("NFKC").toLowerCase().normalize("NFKC"),
  "capital letters": (name) => name.normalize("NFC").toUpperCase(),
  "capital, then small letters": (name) => name.normalize("NFKD").toUpperCase().toLowerCase(),
  "Turkish": (name) => name.toLocaleLowerCase("tr"),
  "without dots and spaces at the end": (name) => name.replace(/[. ]+$/, "").toLowerCase(),
  "without what cannot be seen": (name) => name.replace(/[\p{Cc}\p{Cf}]/gu, "").toLowerCase()
}

/** What is wrong with names as those of files, on any file system; `room` is for what is put around them. */
export const problemsOf = (names: ReadonlyArray<string>, room = 0): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const tell = (what: string, name: string) => problems.push(`${what}: ${JSON.stringify(name.slice(0, 60))}`)
  for (const name of names) {
    if (name === "" || /^\.\.?$/.test(name)) tell("no name", name)
    if (/[/\\:*?"<>|\p{Cc}]/u.test(name)) tell("leads elsewhere, or is no file's name", name)
    if (/^[.]/.test(name)) tell("is hidden", name)
    if (/[. ]$/.test(name)) tell("ends in what is cut off", name)
    if (
      /^(con|prn|aux|nul|conin\$|conout\$|com[\d\u00b9\u00b2\u00b3]|lpt[\d\u00b9\u00b2\u00b3]) *([.]|$)/i.test(name)
    ) {
      tell("is a device", name)
    }
    if (Buffer.byteLength(name) + room > 255) tell("is too long", name)
  }
  for (const [folding, fold] of Object.entries(foldings)) {
    const seen = new Set<string>()
    for (const name of names.map(fold)) {
      if (seen.has(name)) tell(`is another one's, ${folding}`, name)
      seen.add(name)
    }
  }
  return problems
}
