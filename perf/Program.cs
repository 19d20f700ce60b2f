namespace LowLevel.Perf; internal static class Program { private static int Main() => 0; }
