/** How much of which work a round is; as the Rust side says in its arguments. */
record Shape(String kind, int valueBytes, int batchRecords, int encodedBytes, int calls, int latencyCalls, int threads,
             int segmentBytes, int reads) {

    static Shape of(String[] words, int from) {
        int[] numbers = new int[8];
        for (int at = 0; at < numbers.length; at++) numbers[at] = Integer.parseInt(words[from + 1 + at]);
        return new Shape(words[from], numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6], numbers[7]);
    }

    int records() {
        return calls * threads * batchRecords;
    }

    /** The same work, in a round of about so many bytes: to make the compiler see all of it. */
    Shape small(int bytes, int durableCalls) {
        int most = kind.equals("durable") ? durableCalls : Math.max(1, bytes / (valueBytes * batchRecords));
        int fewer = Math.min(calls, most);
        int segment = Math.max(4 * valueBytes * batchRecords, (int) ((long) segmentBytes * fewer / calls));
        return new Shape(kind, valueBytes, batchRecords, encodedBytes, fewer, Math.min(latencyCalls, fewer), threads, segment,
            Math.min(reads, kind.equals("reopen") ? 3 : 20_000));
    }
}
