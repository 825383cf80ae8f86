/** What each suite of benchmarks is, and what it answers with. */

export interface Figure {
  readonly suite: string
  readonly workload: string
  readonly subject: string
  /** The median of the rounds. */
  readonly value: number
  readonly rounds: ReadonlyArray<number>
  readonly unit: "/s" | "ms" | "us" | "MiB" | "bytes"
  readonly note?: string
}

export interface Suite {
  readonly name: string
  readonly run: (context: Context) => Promise<ReadonlyArray<Figure>>
}

export interface Context {
  /** An empty folder of this run. */
  readonly root: string
  readonly preset: "smoke" | "standard" | "full"
  /** Tells how far it is, one line each. */
  readonly progress: (text: string) => void
}
