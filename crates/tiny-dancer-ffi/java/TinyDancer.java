import java.lang.foreign.AddressLayout;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/**
 * The engine of Tiny Dancer by its C library (`make c`), through Java's own foreign functions: JDK 22 or newer, and nothing
 * else. Requests, options and answers are JSON, as the guide docs/guides/embed.md has them. Objects may be used by many
 * threads at once; {@code close} waits for their calls.
 *
 * <p>Name the library by the property {@code tiny.dancer.library}, and run with {@code --enable-native-access=ALL-UNNAMED}.
 */
@SuppressWarnings("restricted")
public final class TinyDancer {
    private TinyDancer() {}

    /** What was refused: its kind, such as "OptionInvalid", the field at fault, what was found there, and what to do. */
    public static final class Refused extends RuntimeException {
        private static final long serialVersionUID = 1;
        public final String code, field, value, remedy;
        /** The four as a JSON object. */
        public final String json;

        Refused(String code, String field, String value, String remedy, String json) {
            super(field + ": " + value + "; " + remedy);
            this.code = code;
            this.field = field;
            this.value = value;
            this.remedy = remedy;
            this.json = json;
        }
    }

    private static final Linker LINKER = Linker.nativeLinker();
    private static final SymbolLookup LIBRARY = library();
    private static final AddressLayout POINTER = ValueLayout.ADDRESS;
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;
    private static final ValueLayout.OfLong SIZE = ValueLayout.JAVA_LONG;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT;
    /** td_text: data, length, capacity. */
    private static final MemoryLayout TEXT = MemoryLayout.structLayout(POINTER, SIZE, SIZE);
    /** td_ranked: row, score, confidence, uncertainty, two truth values and two bytes of nothing. */
    private static final long RANKED = 20;
    /** td_ranking: count, unsound, prediction_set_size, calibrated, level. */
    private static final long RANKING = 32;
    private static final int ABI = 0;

    private static SymbolLookup library() {
        String file = System.getProperty("tiny.dancer.library");
        if (file == null) {
            throw new IllegalStateException("name the library: -Dtiny.dancer.library=target/c/lib/libtiny_dancer.so.0");
        }
        return SymbolLookup.libraryLookup(Path.of(file), Arena.global());
    }

    private static MethodHandle function(String name, MemoryLayout... arguments) {
        return LINKER.downcallHandle(LIBRARY.findOrThrow(name), FunctionDescriptor.of(INT, arguments));
    }

    private static MethodHandle procedure(String name) {
        return LINKER.downcallHandle(LIBRARY.findOrThrow(name), FunctionDescriptor.ofVoid(POINTER));
    }

    private static MethodHandle detail(String name) {
        return LINKER.downcallHandle(LIBRARY.findOrThrow(name), FunctionDescriptor.of(POINTER));
    }

    private static final MethodHandle TEXT_FREE = procedure("td_text_free");
    private static final MethodHandle ERROR_JSON = function("td_error_json", POINTER);
    private static final MethodHandle KIND = detail("td_error_kind"), FIELD = detail("td_error_field");
    private static final MethodHandle VALUE = detail("td_error_value"), REMEDY = detail("td_error_remedy");

    static {
        MethodHandle version = function("td_abi_version");
        try {
            if ((int) version.invokeExact() != ABI) {
                throw new IllegalStateException("the library is of another version than TinyDancer.java");
            }
        } catch (Throwable error) {
            throw failed(error);
        }
    }

    /** Calls of a handle throw anything, by their type; these throw nothing of their own. */
    private static RuntimeException failed(Throwable error) {
        return error instanceof RuntimeException known ? known : new IllegalStateException(error);
    }

    private static String said(MethodHandle of) throws Throwable {
        return ((MemorySegment) of.invokeExact()).reinterpret(Long.MAX_VALUE).getString(0);
    }

    /** What went wrong is kept for the thread of the call, and read in the same one. */
    private static void must(int code, Arena arena) throws Throwable {
        if (code == 0) return;
        MemorySegment text = arena.allocate(TEXT);
        int ignored = (int) ERROR_JSON.invokeExact(text);
        throw new Refused(said(KIND), said(FIELD), said(VALUE), said(REMEDY), taken(text));
    }

    /** The text, which is freed. */
    private static String taken(MemorySegment text) throws Throwable {
        try {
            long length = text.get(SIZE, 8);
            byte[] bytes = text.get(POINTER, 0).reinterpret(length).toArray(ValueLayout.JAVA_BYTE);
            return new String(bytes, StandardCharsets.UTF_8);
        } finally {
            TEXT_FREE.invokeExact(text);
        }
    }

    private static MemorySegment bytes(Arena arena, byte[] given) {
        return given == null || given.length == 0
                ? MemorySegment.NULL
                : arena.allocateFrom(ValueLayout.JAVA_BYTE, given);
    }

    /** Half a surrogate pair is no text, and not replaced by a question mark. */
    private static byte[] utf8(String text) {
        if (text == null) return null;
        byte[] plain = text.getBytes(StandardCharsets.UTF_8);
        // Most is ASCII, which is found out faster than it is encoded with care.
        if (text.equals(new String(plain, StandardCharsets.ISO_8859_1))) return plain;
        try {
            ByteBuffer encoded = StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(text));
            byte[] bytes = new byte[encoded.remaining()];
            encoded.get(bytes);
            return bytes;
        } catch (CharacterCodingException error) {
            String remedy = "give text without half a surrogate pair", code = "RequestInvalid";
            String json = "{\"code\":\"" + code + "\",\"field\":\"text\",\"remedy\":\"" + remedy + "\",\"value\":\"half a pair\"}";
            throw new Refused(code, "text", "half a pair", remedy, json);
        }
    }

    private static long length(byte[] given) {
        return given == null ? 0 : given.length;
    }

    private static MemorySegment floats(Arena arena, float[] given) {
        return given == null || given.length == 0 ? MemorySegment.NULL : arena.allocateFrom(FLOAT, given);
    }

    /** A call with the object and room for what it needs. */
    private interface Call<R> {
        R with(MemorySegment object, Arena arena) throws Throwable;
    }

    /** A call that gives a text. */
    private interface Question {
        int with(MemorySegment object, Arena arena, MemorySegment answer) throws Throwable;
    }

    /** An object of the library: freed once, when no call uses it. */
    public abstract static class Held implements AutoCloseable {
        private final ReentrantReadWriteLock lock = new ReentrantReadWriteLock();
        private final Arena arena = Arena.ofShared();
        private final MemorySegment place = arena.allocate(POINTER);
        private final MethodHandle free;
        private boolean closed;

        Held(String free) {
            this.free = procedure(free);
        }

        <R> R use(Call<R> call) {
            lock.readLock().lock();
            try (Arena room = Arena.ofConfined()) {
                if (closed) throw new IllegalStateException("it is closed");
                return call.with(place.get(POINTER, 0), room);
            } catch (Throwable error) {
                throw failed(error);
            } finally {
                lock.readLock().unlock();
            }
        }

        /** The place of the pointer, for the function that makes the object. */
        MemorySegment place() {
            return place;
        }

        String ask(Question question) {
            return use((object, room) -> {
                MemorySegment answer = room.allocate(TEXT);
                must(question.with(object, room, answer), room);
                return taken(answer);
            });
        }

        /** Frees it; twice does no harm. */
        @Override
        public void close() {
            lock.writeLock().lock();
            try {
                if (closed) return;
                closed = true;
                free.invokeExact(place);
                arena.close();
            } catch (Throwable error) {
                throw failed(error);
            } finally {
                lock.writeLock().unlock();
            }
        }
    }

    private static MemorySegment of(Encoder encoder) {
        return encoder == null ? MemorySegment.NULL : encoder.use((object, room) -> object);
    }

    private static final MethodHandle ENCODER_LOAD = function("td_encoder_load", POINTER, SIZE, POINTER);

    /** Makes embeddings of texts; objects share it. */
    public static final class Encoder extends Held {
        public Encoder(byte[] data) {
            super("td_encoder_free");
            this.<Void>use((object, room) -> {
                must((int) ENCODER_LOAD.invokeExact(bytes(room, data), length(data), place()), room);
                return null;
            });
        }
    }

    private static final MethodHandle ROUTER_LOAD =
            function("td_router_load", POINTER, SIZE, POINTER, POINTER, SIZE, POINTER, SIZE, POINTER);
    private static final MethodHandle ROUTER_DECIDE =
            function("td_router_decide", POINTER, POINTER, SIZE, POINTER, SIZE, POINTER);
    private static final MethodHandle ROUTER_RELOAD = function("td_router_reload", POINTER, POINTER, SIZE);
    private static final MethodHandle ROUTER_STATUS = function("td_router_status", POINTER, POINTER);

    /** Decides which model answers a request. */
    public static final class Router extends Held {
        /**
         * From an artifact. The encoder may be null where it needs none, changes of the models empty; with a breaker (JSON,
         * "{}" for its defaults) rules decide while the engine fails, without (null) that is an error.
         */
        public Router(byte[] artifact, Encoder encoder, String changes, String breaker) {
            super("td_router_free");
            this.<Void>use((object, room) -> {
                byte[] models = utf8(changes), options = utf8(breaker);
                must((int) ROUTER_LOAD.invokeExact(bytes(room, artifact), length(artifact), of(encoder),
                        bytes(room, models), length(models), bytes(room, options), length(options), place()), room);
                return null;
            });
        }

        /** Decides a request, JSON as clients send it; options are JSON, or empty. */
        public String decide(String request, String options) {
            byte[] asked = utf8(request), with = utf8(options);
            return ask((object, room, answer) -> (int) ROUTER_DECIDE.invokeExact(
                    object, bytes(room, asked), length(asked), bytes(room, with), length(with), answer));
        }

        /** Serves another artifact from the next call on; where it cannot be loaded, the one that serves goes on. */
        public void reload(byte[] artifact) {
            this.<Void>use((object, room) -> {
                must((int) ROUTER_RELOAD.invokeExact(object, bytes(room, artifact), length(artifact)), room);
                return null;
            });
        }

        /** How the router and its breaker stand, as JSON. */
        public String status() {
            return ask((object, room, answer) -> (int) ROUTER_STATUS.invokeExact(object, answer));
        }
    }

    private static final MethodHandle ROUTES_LOAD = function("td_routes_load", POINTER, SIZE, POINTER, POINTER);
    private static final MethodHandle ROUTES_DECIDE =
            function("td_routes_decide", POINTER, POINTER, SIZE, POINTER, SIZE, POINTER);

    /** Tells which intent a text has, if any. */
    public static final class Routes extends Held {
        public Routes(byte[] artifact, Encoder encoder) {
            super("td_routes_free");
            this.<Void>use((object, room) -> {
                must((int) ROUTES_LOAD.invokeExact(bytes(room, artifact), length(artifact), of(encoder), place()), room);
                return null;
            });
        }

        /** Routes a request, JSON with text or vector. */
        public String decide(String request, String options) {
            byte[] asked = utf8(request), with = utf8(options);
            return ask((object, room, answer) -> (int) ROUTES_DECIDE.invokeExact(
                    object, bytes(room, asked), length(asked), bytes(room, with), length(with), answer));
        }
    }

    private static final MethodHandle TOOLS_NEW = function("td_tools_new", POINTER, SIZE, POINTER, POINTER);
    private static final MethodHandle TOOLS_ADD = function("td_tools_add", POINTER, POINTER, SIZE, POINTER);
    private static final MethodHandle TOOLS_SELECT = function("td_tools_select", POINTER, POINTER, SIZE, POINTER);

    /** Tells which of many tools a request needs. */
    public static final class Tools extends Held {
        public Tools(byte[] learned, Encoder encoder) {
            super("td_tools_free");
            this.<Void>use((object, room) -> {
                must((int) TOOLS_NEW.invokeExact(bytes(room, learned), length(learned), of(encoder), place()), room);
                return null;
            });
        }

        /** Adds tools, JSON in any dialect, and gives the list of their ids. */
        public String add(String tools) {
            byte[] given = utf8(tools);
            return ask((object, room, answer) ->
                    (int) TOOLS_ADD.invokeExact(object, bytes(room, given), length(given), answer));
        }

        /** Selects the tools a request needs. */
        public String select(String query) {
            byte[] asked = utf8(query);
            return ask((object, room, answer) ->
                    (int) TOOLS_SELECT.invokeExact(object, bytes(room, asked), length(asked), answer));
        }
    }

    private static final MethodHandle AGENTS_NEW = function("td_agents_new", ValueLayout.JAVA_DOUBLE, POINTER);
    private static final MethodHandle AGENTS_PUT = function("td_agents_put", POINTER, POINTER, SIZE);
    private static final MethodHandle AGENTS_CHOOSE = function("td_agents_choose", POINTER, POINTER, SIZE, POINTER);
    private static final MethodHandle AGENTS_OBSERVE =
            function("td_agents_observe", POINTER, POINTER, SIZE, POINTER, SIZE, POINTER);

    /** Tells which of many agents answers a request. */
    public static final class Agents extends Held {
        /** What was observed counts half after so many seconds; it never ages where that is NaN. */
        public Agents(double halfLife) {
            super("td_agents_free");
            this.<Void>use((object, room) -> {
                must((int) AGENTS_NEW.invokeExact(halfLife, place()), room);
                return null;
            });
        }

        /** Puts agents in, JSON: one, or a list of them. */
        public void put(String agents) {
            byte[] given = utf8(agents);
            this.<Void>use((object, room) -> {
                must((int) AGENTS_PUT.invokeExact(object, bytes(room, given), length(given)), room);
                return null;
            });
        }

        /** Chooses an agent for a query. */
        public String choose(String query) {
            byte[] asked = utf8(query);
            return ask((object, room, answer) ->
                    (int) AGENTS_CHOOSE.invokeExact(object, bytes(room, asked), length(asked), answer));
        }

        /** Counts an outcome, and gives the agent's state after it. */
        public String observe(String state, String outcome) {
            byte[] before = utf8(state), what = utf8(outcome);
            return ask((object, room, answer) -> (int) AGENTS_OBSERVE.invokeExact(
                    object, bytes(room, before), length(before), bytes(room, what), length(what), answer));
        }
    }

    private static final MethodHandle TASKS_LOAD = function("td_tasks_load", POINTER, SIZE, POINTER, POINTER);
    private static final MethodHandle TASKS_CLASSIFY = function("td_tasks_classify", POINTER, POINTER, SIZE, POINTER);

    /** Tells what a request asks for, and what it takes. */
    public static final class Tasks extends Held {
        public Tasks(byte[] artifact, Encoder encoder) {
            super("td_tasks_free");
            this.<Void>use((object, room) -> {
                must((int) TASKS_LOAD.invokeExact(bytes(room, artifact), length(artifact), of(encoder), place()), room);
                return null;
            });
        }

        /** Classifies a request, JSON with text. */
        public String classify(String request) {
            byte[] asked = utf8(request);
            return ask((object, room, answer) ->
                    (int) TASKS_CLASSIFY.invokeExact(object, bytes(room, asked), length(asked), answer));
        }
    }

    private static final MethodHandle CANDIDATES_NEW =
            function("td_candidates_new", POINTER, SIZE, POINTER, POINTER, SIZE, POINTER);
    private static final MethodHandle CANDIDATES_ADD =
            function("td_candidates_add", POINTER, POINTER, SIZE, POINTER, SIZE);
    private static final MethodHandle CANDIDATES_RANK =
            function("td_candidates_rank", POINTER, POINTER, SIZE, POINTER, SIZE, POINTER);
    private static final MethodHandle ADD_VECTORS =
            function("td_candidates_add_vectors", POINTER, POINTER, POINTER, SIZE, SIZE);
    private static final MethodHandle RANK_VECTOR =
            function("td_candidates_rank_vector", POINTER, POINTER, SIZE, POINTER, POINTER, SIZE, POINTER);

    /** One candidate of an answer: the row it was added in, and what is said of it. */
    public record Ranked(int row, float score, float confidence, float uncertainty, boolean useLightweight) {}

    /** Ranks candidates: which are worth passing on. */
    public static final class Candidates extends Held {
        /** Ranked by the scorer of an artifact, or, where that is null, by the combination without training. */
        public Candidates(byte[] scorer, Encoder encoder, String breaker) {
            super("td_candidates_free");
            this.<Void>use((object, room) -> {
                byte[] options = utf8(breaker);
                must((int) CANDIDATES_NEW.invokeExact(bytes(room, scorer), length(scorer), of(encoder),
                        bytes(room, options), length(options), place()), room);
                return null;
            });
        }

        /** Adds candidates, a JSON list; embeddings, if any, beside it: one row a candidate, one after the other. */
        public void add(String candidates, float[] embeddings) {
            byte[] given = utf8(candidates);
            long numbers = embeddings == null ? 0 : embeddings.length;
            this.<Void>use((object, room) -> {
                must((int) CANDIDATES_ADD.invokeExact(object, bytes(room, given), length(given),
                        floats(room, embeddings), numbers), room);
                return null;
            });
        }

        /** Ranks them for a query, JSON; its embedding, if any, beside it. */
        public String rank(String query, float[] embedding) {
            byte[] asked = utf8(query);
            long dimensions = embedding == null ? 0 : embedding.length;
            return ask((object, room, answer) -> (int) CANDIDATES_RANK.invokeExact(object, bytes(room, asked),
                    length(asked), floats(room, embedding), dimensions, answer));
        }

        /** Adds candidates by their embeddings alone, rows of as many dimensions; they are known by their rows. */
        public void addVectors(float[] embeddings, int dimensions) {
            if (dimensions < 1 || embeddings.length % dimensions != 0) {
                throw new IllegalArgumentException("give whole rows");
            }
            long rows = embeddings.length / dimensions, width = dimensions;
            this.<Void>use((object, room) -> {
                MemorySegment numbers = floats(room, embeddings);
                must((int) ADD_VECTORS.invokeExact(object, MemorySegment.NULL, numbers, rows, width), room);
                return null;
            });
        }

        /** Ranks them by the query's embedding alone, and gives at most k, best first. */
        public List<Ranked> rankVector(float[] query, int k) {
            return use((object, room) -> {
                MemorySegment found = room.allocate(RANKED * k, 4), ranking = room.allocate(RANKING, 8);
                must((int) RANK_VECTOR.invokeExact(object, floats(room, query), (long) query.length,
                        MemorySegment.NULL, found, (long) k, ranking), room);
                List<Ranked> ranked = new ArrayList<>();
                for (long at = 0; at < ranking.get(SIZE, 0) * RANKED; at += RANKED) {
                    ranked.add(new Ranked(found.get(INT, at), found.get(FLOAT, at + 4), found.get(FLOAT, at + 8),
                            found.get(FLOAT, at + 12), found.get(ValueLayout.JAVA_BYTE, at + 16) != 0));
                }
                return ranked;
            });
        }
    }
}
