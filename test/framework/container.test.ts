import assert from 'node:assert/strict'
import { Container } from '../../src/framework/container.ts'
import { token } from '../../src/framework/token.ts'

describe('Container', () => {
  const A = token<AsyncDisposable>('A')
  const B = token<AsyncDisposable>('B')

  it('builds a service once and closes in reverse order', async () => {
    const log: string[] = []
    const service = (name: string) => {
      log.push(`open ${name}`)
      return {
        async [Symbol.asyncDispose]() {
          log.push(`close ${name}`)
        },
      }
    }
    const container = new Container()
      .provide(A, {}, () => service('A'))
      .provide(B, { a: A }, () => service('B'))
    assert.equal(container.get(B), container.get(B))
    container.get(A)
    await container[Symbol.asyncDispose]()
    assert.deepEqual(log, ['open A', 'open B', 'close B', 'close A'])
  })

  it('names all links of a cycle', () => {
    const container = new Container()
      .provide(A, { b: B }, ({ b }) => b)
      .provide(B, { a: A }, ({ a }) => a)
    assert.throws(() => container.get(A), {
      code: 'SERVICE_CYCLE',
      message: 'services need each other: A -> B -> A',
    })
  })

  it('names the missing service and who asks for it', () => {
    const container = new Container().provide(B, { a: A }, ({ a }) => a)
    assert.throws(() => container.get(B), {
      code: 'SERVICE_MISSING',
      message: "B asks for the service A, which nothing provides; check the plugin's inject",
    })
  })

  it('lends the services of a parent without closing them', async () => {
    let closed = false
    const parent = new Container().provide(A, {}, () => ({
      async [Symbol.asyncDispose]() {
        closed = true
      },
    }))
    const child = new Container(parent).provide(B, { a: A }, ({ a }) => ({ ...a }))
    assert.ok(child.get(B))
    await child[Symbol.asyncDispose]()
    assert.equal(closed, true, 'B is a copy of A and is the one closed by the child')
    closed = false
    parent.get(A)
    await parent[Symbol.asyncDispose]()
    assert.equal(closed, true)
  })
})
