import java.io.Closeable;

/** An engine with an open log; the same work as for the peers in Rust. Records are told by their numbers. */
interface Peer extends Closeable {
    /** Opens or creates. */
    interface Opening {
        Peer open(java.io.File dir, Shape shape, Values values) throws Exception;
    }

    void append(int record) throws Exception;

    /** So many records from number 0 on, in one call. */
    void appendBatch(int records) throws Exception;

    /** What a thread needs to append durably; made, used and closed by that thread. */
    Durably durably() throws Exception;

    interface Durably extends Closeable {
        void append(int record) throws Exception;
    }

    /** Every record, from the front to the back. */
    Sum scan() throws Exception;

    /** Whether the record of that number, counted from the front, is the right one. */
    boolean lookup(int record) throws Exception;
}
