// Starts simulation-worker.ts from its source: Node 20 does not strip types, and a thread does not inherit its parent's loader.
import { register } from 'tsx/esm/api'

register()
await import('./simulation-worker.ts')
