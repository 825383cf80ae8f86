import * as naive from "../support/naiveDriver.ts"
import { suite } from "./EventStore.contract.ts"

suite("the plainest", naive.layer)
