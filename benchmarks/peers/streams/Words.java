// Kafka Streams counts words: BOOTSTRAP TOPIC COUNT STORE DATADIR ID.
// What is measured is the second half of the events, when the machine code has been compiled.
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.Locale;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.Stores;

public class Words {
    static long seen, cpu, wall;

    public static void main(String[] args) throws Exception {
        long count = Long.parseLong(args[2]), half = count / 2;
        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, args[5]);
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        config.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 2800);
        config.put("auto.offset.reset", "earliest");
        OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        ObjectMapper json = new ObjectMapper();
        CountDownLatch done = new CountDownLatch(1);
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(args[1], Consumed.with(Serdes.String(), Serdes.ByteArray()))
            .mapValues(raw -> {
                try {
                    JsonNode document = json.readTree(raw);
                    if (++seen == half) {
                        cpu = system.getProcessCpuTime();
                        wall = System.nanoTime();
                    } else if (seen == count) {
                        cpu = system.getProcessCpuTime() - cpu;
                        wall = System.nanoTime() - wall;
                        done.countDown();
                    }
                    return document.get("word").textValue();
                } catch (java.io.IOException exc) {
                    throw new RuntimeException(exc);
                }
            })
            .groupByKey(Grouped.with(Serdes.String(), Serdes.String()))
            .count(Materialized.<String, Long>as(args[3].startsWith("memory")
                ? Stores.inMemoryKeyValueStore("counts")
                : Stores.persistentKeyValueStore("counts"))
                .withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()));
        KafkaStreams streams = new KafkaStreams(builder.build(), config);
        streams.start();
        done.await();
        double events = count - half;
        System.out.println(String.format(Locale.ROOT,
            "{\"cpu_us\": %.3f, \"rate\": %.0f, \"peak_mib\": %.0f, \"note\": \"warm\"}",
            cpu / events / 1e3, events / (wall / 1e9),
            Runtime.getRuntime().totalMemory() / 1048576.0));
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }
}
