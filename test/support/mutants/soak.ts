/** What a soak must notice, or need not: see `test/soak/mutants.ts`. */
import type { Patches } from "../mutants.ts"

export const patches: Patches = {
  /** Whoever has it believes to have it on; somebody else gets it at once. */
  "soak-lock-released-early": {
    file: "src/layers/LockFile.ts",
    find: `      yield* Scope.addFinalizer(
        scope,
        Effect.sync(() => {
          taken.release()
          place.leave()
        })
      )
      return {
        isLost: Effect.sync(taken.isLost),`,
    replace: `      taken.release()
      yield* Scope.addFinalizer(scope, Effect.sync(() => place.leave()))
      return {
        isLost: Effect.succeed(false),`
  },
  "soak-conditions-lag": {
    file: "src/layers/internal/History.ts",
    find: "index.find(query, { after, before: head + 1, backwards: false, atOnce: lookAhead })",
    replace: "index.find(query, { after, before: Math.max(after + 1, head - 3), backwards: false, atOnce: lookAhead })"
  },
  "soak-tags-do-not-conflict": {
    file: "src/layers/internal/History.ts",
    find: "if (yield* additionMatches(query, candidate)) return candidate.position",
    replace: "if ((yield* additionMatches(query, candidate)) && candidate.position < 0) return candidate.position"
  },
  "soak-index-loses-a-posting": {
    file: "src/layers/internal/indexFormat.ts",
    find: `view.setUint32(to + 12, count, true)`,
    replace: `view.setUint32(to + 12, count > 3 ? count - 1 : count, true)`
  },
  "soak-acknowledged-before-written": {
    file: "src/layers/internal/GroupWriter.ts",
    find: `history.commit(ledger.commit(group.batches as never, group.behind))`,
    replace: `Effect.suspend(() => {
            let told = group.behind
            for (const request of group.requests) {
              const positions = request.batch.map(() => ++told as Position)
              answer(request, Exit.succeed({ positions: positions as never, head: told as Position, hash: "", duplicate: false }))
            }
            return Effect.andThen(Effect.sleep(1), history.commit(ledger.commit(group.batches as never, group.behind)))
          })`
  },
  /** What was saved is counted from a little before it. */
  "soak-projection-counts-again": {
    file: "src/layers/internal/ProjectionFold.ts",
    find: "let saved: number = found?.position ?? 0",
    replace: "let saved: number = Math.max(0, (found?.position ?? 0) - 1)"
  },
  "soak-an-append-is-not-answered": {
    file: "src/layers/internal/GroupWriter.ts",
    find: "for (let i = 0; i < committed; i++) answer(",
    replace: "for (let i = 0; i < committed; i++) if (appended[i]!.head % 40 !== 0) answer("
  },
  "soak-retries-are-stored-again": {
    file: "src/layers/internal/GroupWriter.ts",
    find: "const committed = yield* committedTwin(request)",
    replace: "const committed = (yield* committedTwin(request)) && undefined"
  }
}
