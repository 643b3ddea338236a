const MEBIBYTE = 1024 * 1024
/** The least that an index may have, in MiB. */
const MIN_MIB = 16
/** What a block of short prompts takes in the index and in the join to the engines' hashes, when one endpoint holds it. */
const BLOCK_BYTES = 80

/** Kubernetes' quantities and those of Go's humanize, in bytes. */
const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1e3,
  kb: 1e3,
  ki: 2 ** 10,
  kib: 2 ** 10,
  m: 1e6,
  mb: 1e6,
  mi: 2 ** 20,
  mib: 2 ** 20,
  g: 1e9,
  gb: 1e9,
  gi: 2 ** 30,
  gib: 2 ** 30,
  t: 1e12,
  tb: 1e12,
  ti: 2 ** 40,
  tib: 2 ** 40,
}

/** A size such as `2GiB` or a number of bytes in whole MiB, at least 16; undefined when it is none. */
export function memoryMiB(size: unknown): number | undefined {
  const [, digits, unit] = /^\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*$/.exec(String(size)) ?? []
  const factor = UNITS[unit?.toLowerCase() ?? '?']
  if (digits === undefined || factor === undefined) return undefined
  return Math.max(MIN_MIB, Math.ceil((Number(digits) * factor) / MEBIBYTE))
}

/** What an index of so many blocks takes in whole MiB, at least 16; undefined for what is no number of blocks. */
export function memoryMiBOfBlocks(blocks: unknown): number | undefined {
  if (typeof blocks !== 'number' || !Number.isSafeInteger(blocks) || blocks < 1) return undefined
  return Math.max(MIN_MIB, Math.ceil((blocks * BLOCK_BYTES) / MEBIBYTE))
}
