import assert from 'node:assert/strict'
import { seededRandom } from '../../src/framework/random.ts'
import { envoyAvailable } from './envoy.ts'
import { allCells, type Cell, pairwiseCells, titleOf } from './modes/cells.ts'
import { Matrix } from './modes/matrix.ts'

const SEED = 20_261_121
const AT_ONCE = 8
/** What the cover is meant to take at most; ten times that fails. */
const COVER_MS = 60_000

describe('modes, sizes and faults through a real Envoy', function () {
  this.timeout(120_000)
  let matrix: Matrix

  before(async function () {
    if (!envoyAvailable()) return this.skip()
    matrix = await Matrix.start()
  })
  after(() => matrix?.stop())

  if (process.env.EPP_E2E === 'full') {
    const groups = new Map<string, Cell[]>()
    for (const cell of allCells()) {
      const name = `${cell.requestMode} ${cell.responseMode} ${cell.responses}`
      const group = groups.get(name)
      if (group) group.push(cell)
      else groups.set(name, [cell])
    }
    for (const [name, cells] of groups) {
      it(`${name}: all ${cells.length} cells`, async function () {
        this.timeout(600_000)
        const left = [...cells]
        const worker = async () => {
          for (let cell = left.pop(); cell !== undefined; cell = left.pop()) await matrix.run(cell)
        }
        await Promise.all(Array.from({ length: AT_ONCE }, worker))
        await matrix.settled(cells[0]!.responses)
      })
    }
  } else {
    describe(`a cover of all pairs, seed ${SEED}`, () => {
      const cells = pairwiseCells(seededRandom(SEED))
      let startedMs: number
      before(() => {
        startedMs = performance.now()
      })
      for (const cell of cells) {
        it(titleOf(cell), async () => {
          await matrix.run(cell)
          await matrix.settled(cell.responses)
        })
      }
      it('takes less than a minute', () => {
        const tookMs = performance.now() - startedMs
        console.log(`      ${cells.length} cells: ${Math.round(tookMs)} ms (limit ${COVER_MS} ms)`)
        assert.ok(tookMs < 10 * COVER_MS, `${tookMs} ms`)
      })
    })
  }
})
